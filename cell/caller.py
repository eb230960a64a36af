"""What every customer request brings along, checked once: who asks, under which key, with what body.

The answer of an endpoint is an `Answer`, status and bytes, so that the hot routes can be served without a framework
and the others through it, by the same functions.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from cell import errors

_VISIBLE_ASCII: Final = re.compile(r"[!-~]{1,128}")
_FIELD_NAME: Final = re.compile(r"(?:at `\$\.|unknown field `)(\w+)")
Moment = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$", description="UTC")
]
"""A time as an answer shows it."""
Body = TypeVar("Body", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Caller:
    """A customer whose router vouched for him."""

    user_id: UUID
    epoch: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: JSON bytes and a status."""

    status: int
    body: bytes
    replayed: bool = False
    etag: str | None = None


def is_visible_ascii(value: str) -> bool:
    """1 to 128 characters that can be seen: what customers may name their requests and orders with."""
    return _VISIBLE_ASCII.fullmatch(value) is not None


def idempotency_key(value: str | None) -> str:
    """The header's value. Raises Problem: missing, or not 1 to 128 visible ASCII characters."""
    if not value:
        raise errors.missing_idempotency_key()
    if not is_visible_ascii(value):
        raise errors.invalid_field(400, "X-Idempotency-Key", "1 to 128 visible ASCII characters")
    return value


def check_content_type(value: str | None) -> None:
    """Raises Problem 415 for a body that does not call itself JSON."""
    media_type = (value or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise errors.unsupported_media_type(media_type)


def decode_body(decoder: "msgspec.json.Decoder[Body]", raw: bytes) -> Body:
    """The body's fields. 400: not JSON, or a field given twice; 422: a field that is unknown or of another type."""
    try:
        body = decoder.decode(raw)
    except msgspec.ValidationError as error:
        found = _FIELD_NAME.search(str(error))
        raise errors.invalid_field(422, found[1] if found else "body", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.invalid_field(400, "body", f"not a JSON object: {error}") from error
    except RecursionError as error:
        raise errors.invalid_field(400, "body", "nested too deeply") from error
    values = msgspec.structs.astuple(body)
    if raw.count(b",") >= len(values) - values.count(UNSET):  # one comma less than fields: each of them is given once
        _check_given_once(raw)
    return body


def _check_given_once(raw: bytes) -> None:
    """Two readers of a body must not see two orders in it. Raises Problem 400 for a field that is there twice."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise errors.invalid_field(400, name[:64], "given twice")
            seen.add(name)

    try:
        json.loads(raw, object_pairs_hook=check, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:  # inside of an amount, which nobody has looked at yet
        raise errors.invalid_field(400, "body", "not a JSON object") from error


def format_time(at: datetime) -> str:
    """RFC 3339 in UTC, `Z`, microseconds."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
