"""A head of the audit chain as it is published: which row was the last at some moment, and its hash. Pure."""

from dataclasses import dataclass
from typing import Final

import msgspec


class HeadMalformed(Exception):
    """A message that is no head."""


@dataclass(frozen=True, slots=True)
class Head:
    number: int
    """0 with the hash of nothing: the chain is empty."""
    hash: str
    """Hexadecimal."""
    at: str
    """When it was published, by the control database's clock, in ISO 8601."""
    place: str = ""
    """Where it was found: topic, partition and offset."""

    @property
    def when(self) -> str:
        """For people."""
        return f"at {self.at}" + (f" ({self.place})" if self.place else "")


class _Published(msgspec.Struct, frozen=True):
    """The value of a message; a later release may add fields."""

    number: int
    hash: str
    at: str


_decoder: Final = msgspec.json.Decoder(_Published)


def encode_head(head: Head) -> bytes:
    return msgspec.json.encode(_Published(head.number, head.hash, head.at))


def decode_head(value: bytes, place: str) -> Head:
    """Raises HeadMalformed."""
    try:
        published = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise HeadMalformed(f"the message at {place} is no head of a chain: {error}") from error
    return Head(published.number, published.hash, published.at, place)
