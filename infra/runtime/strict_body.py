"""The one way in which a JSON body is read, at every port: two readers can never see two things in it.

One contract (`Problem`, code `INVALID_FIELD`, always with `field`):

- 415: it does not call itself JSON;
- 400: it is not JSON (NaN, a byte order mark, bytes that are no UTF-8, half a surrogate pair, nested too deeply;
  `field` is `body`), a field is given twice, or one that is required is missing (`field` is its name);
- 422: an unknown field, or a field of another type, out of range or too long (`field` is its path); `body` if it is no
  object; any text with the character NUL, which no database keeps.
  Lengths of texts are counted in characters, as the schema says; bytes are bounded by the port (413).

Decoders are of frozen shapes with `forbid_unknown_fields`; what a value means is judged by whoever asked for it.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import UNSET

from infra.runtime.problem import Problem

Body = TypeVar("Body", bound=msgspec.Struct)
_NAMED: Final = re.compile(r"^Object (contains unknown|missing required) field `(.*?)`(?: - at `|$)", re.DOTALL)
_AT: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_NAME_CHARS_MAX: Final = 64
"""Of a name that is repeated to whoever sent it."""
_NO_OBJECT: Final = "a JSON object"
_NUL: Final = b"\\u0000"
"""How JSON writes the character, and the only way; behind another backslash it is six other characters."""


class Arrived(Protocol):
    """A request, as far as this has to do with it."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def body(self) -> bytes: ...


async def read_body(decoder: "msgspec.json.Decoder[Body]", request: Arrived) -> Body:
    """Raises Problem: 415, 400 or 422."""
    check_content_type(request.headers.get("content-type"))
    return decode_body(decoder, await request.body())


async def refuse_body(request: Arrived) -> None:
    """Of a call that takes none: what is sent to be read must not be lost in silence. Raises Problem 422."""
    if await request.body():
        raise refused(422, "body", "this call takes none")


def check_content_type(value: str | None) -> None:
    """Raises Problem 415 for a body that does not call itself JSON."""
    media_type = (value or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        said = f"not {media_type[:_NAME_CHARS_MAX]}" if media_type else "and say so in Content-Type"
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", f"send application/json, {said}")


def decode_body(decoder: "msgspec.json.Decoder[Body]", raw: bytes) -> Body:
    """The body's fields. Raises Problem: 400 or 422."""
    try:
        body = decoder.decode(raw)
    except msgspec.ValidationError as error:
        _check_given_once(raw)  # the graver fault first: whoever sees the other of two fields sees another fault
        raise _refused(str(error)) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _not_json(str(error)) from error
    except RecursionError as error:
        raise _not_json("nested too deeply") from error
    values = msgspec.structs.astuple(body)
    given = len(values) - values.count(UNSET) - values.count(None)
    if raw.count(b",") >= given or _has_other_defaults(type(body)):  # one comma less than fields: each is given once
        _check_given_once(raw)
    if _NUL in raw:
        _check_no_nul(raw)
    return body


@cache
def _has_other_defaults(kind: type[msgspec.Struct]) -> bool:
    """Then a value does not tell whether its field was given."""
    return any(default is not UNSET and default is not None for default in kind.__struct_defaults__)


def refused(status: int, field: str, detail: str, **figures: object) -> Problem:
    """How every refusal of a field looks."""
    return Problem(status, "INVALID_FIELD", f"{field}: {detail}", headers=None, field=field, **figures)


def _not_json(why: str) -> Problem:
    return refused(400, "body", f"not {_NO_OBJECT}: {why}")


def _refused(said: str) -> Problem:
    at = _AT.search(said)
    where = at[1] if at else ""
    named = _NAMED.match(said)
    if named is None:
        return refused(422, where or "body", _AT.sub("", said))
    field = f"{where}.{named[2][:_NAME_CHARS_MAX]}" if where else named[2][:_NAME_CHARS_MAX]
    return refused(400, field, "missing") if named[1] == "missing required" else refused(422, field, "no such field")


def _check_given_once(raw: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise refused(400, name[:_NAME_CHARS_MAX], "given twice")
            seen.add(name)

    try:
        json.loads(raw, object_pairs_hook=check, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # inside of a value that nobody has looked at yet
        raise _not_json("nested too deeply" if isinstance(error, RecursionError) else str(error)) from error


def _check_no_nul(raw: bytes) -> None:
    waiting: list[tuple[str, Any]] = [("", json.loads(raw))]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}.{name}" if path else name, one) for name, one in value.items()]
            value = "".join(value)  # names are texts, too
        elif isinstance(value, list):
            waiting += [(f"{path}[{place}]", one) for place, one in enumerate(value)]
        if isinstance(value, str) and "\x00" in value:
            raise refused(422, path[:_NAME_CHARS_MAX] or "body", "no NUL (U+0000)")


def _refuse_constant(name: str) -> None:
    raise _not_json(f"{name} is no JSON number")
