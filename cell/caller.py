"""What every customer request brings along, checked once: who asks, under which key, with what body.

The answer of an endpoint is an `Answer`, status and bytes, so that the hot routes can be served without a framework
and the others through it, by the same functions.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from cell import errors

_VISIBLE_ASCII: Final = re.compile(r"[!-~]{1,128}")
Moment = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$", description="UTC")
]
"""A time as an answer shows it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A customer, as the router vouches."""

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


def format_time(at: datetime) -> str:
    """RFC 3339 in UTC, `Z`, microseconds."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
