"""The outer fields of every event, the same in each cell and on each topic.

What is inside `data` belongs to the writer; a reader declares its own struct for the part it reads. The event id is a
pure function of (user, stream, seq), so an event that is sent twice carries the same id whoever sends it, and a
consumer that keeps ids, or the highest `seq` per user and stream, drops the second copy. `seq` has no gaps per user and
stream: a reader that sees one knows that something is still on its way. Nothing here does I/O.
"""

import hashlib
import uuid
from datetime import datetime
from typing import Any

import msgspec

EVENT_ID_NAMESPACE = uuid.UUID("6f1d2c4e-0f0b-5c63-9f4e-3a5d7f0c9b21")
"""Fixed for ever: another namespace would give every old event a second identity."""
_NAMESPACE_BYTES = EVENT_ID_NAMESPACE.bytes


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event. Times are UTC; ids are UUIDs in their canonical text, as they stand on the wire."""

    event_id: str
    type: str
    version: int
    cell: str
    user_id: str
    epoch: int
    stream: str
    seq: int
    write_seq: int
    occurred_at: datetime
    data: Any
    """The writer's own struct when written; plain JSON values when read."""


class EventIdentity(msgspec.Struct, frozen=True):
    """The part of an envelope that tells one event from another."""

    event_id: str
    user_id: str
    stream: str
    seq: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)
_identity_decoder = msgspec.json.Decoder(EventIdentity)


class MalformedEnvelope(ValueError):
    """Bytes on a topic that are not an envelope."""


def event_id(user_id: str, stream: str, seq: int) -> str:
    """The identity of an event, the same at every attempt to publish it.

    It is the version 5 UUID of `user/stream/seq`, spelled out because UUID objects were half of an event's cost.
    """
    name = f"{user_id}/{stream}/{seq}".encode()
    digest = hashlib.sha1(_NAMESPACE_BYTES + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def partition_key(user_id: str) -> bytes:
    """All events of a user share a partition, and so keep their order."""
    return user_id.encode()


def encode_envelope(envelope: Envelope) -> bytes:
    return _encoder.encode(envelope)


def decode_envelope(body: bytes) -> Envelope:
    """Read an event; unknown outer fields are ignored, so a newer writer does not stop an older reader. Raises
    MalformedEnvelope."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedEnvelope(str(error)) from error


def decode_identity(body: bytes) -> EventIdentity:
    """Only the identity, several times faster than the whole. Raises MalformedEnvelope."""
    try:
        return _identity_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedEnvelope(str(error)) from error
