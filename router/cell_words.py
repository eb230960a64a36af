"""What a cell says in its refusals, as far as the router acts on it. A sick cell may say anything: what cannot be read
says nothing."""

from typing import TypeVar

import msgspec

Words = TypeVar("Words", bound=msgspec.Struct)


def read_words(body: bytes, shape: type[Words]) -> Words | None:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
