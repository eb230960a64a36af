"""Reading the body of a cell's answer, as far as the router acts on it. A sick cell may send anything, so what cannot
be read is None, and nothing is raised."""

from typing import TypeVar

import msgspec

Shape = TypeVar("Shape", bound=msgspec.Struct)


def decode_body(body: bytes, shape: type[Shape]) -> Shape | None:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
