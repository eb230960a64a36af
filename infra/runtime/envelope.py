"""The outer fields of every event, the same in each cell and on each topic.

What is inside `data` belongs to the writer; a reader declares its own struct for the part it reads. The event id is a
pure function of (user, stream, seq), so an event that is sent twice carries the same id whoever sends it, and a
consumer that keeps ids, or the highest `seq` per user and stream, drops the second copy. `seq` has no gaps per user and
stream: a reader that sees one knows that something is still on its way. Nothing here does I/O.
"""

import uuid
from datetime import datetime
from typing import Any

import msgspec

_EVENT_ID_NAMESPACE = uuid.UUID("6f1d2c4e-0f0b-5c63-9f4e-3a5d7f0c9b21")
"""Fixed for ever: another namespace would give every old event a second identity."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event. Times are UTC."""

    event_id: uuid.UUID
    type: str
    version: int
    cell: str
    user_id: uuid.UUID
    epoch: int
    stream: str
    seq: int
    write_seq: int
    occurred_at: datetime
    data: Any
    """The writer's own struct when written; plain JSON values when read."""


class EventIdentity(msgspec.Struct, frozen=True):
    """The part of an envelope that tells one event from another."""

    event_id: uuid.UUID
    user_id: uuid.UUID
    stream: str
    seq: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)
_identity_decoder = msgspec.json.Decoder(EventIdentity)


class MalformedEnvelope(ValueError):
    """Bytes on a topic that are not an envelope."""


def event_id(user_id: uuid.UUID, stream: str, seq: int) -> uuid.UUID:
    """The identity of an event, the same at every attempt to publish it."""
    return uuid.uuid5(_EVENT_ID_NAMESPACE, f"{user_id}/{stream}/{seq}")


def partition_key(user_id: uuid.UUID) -> bytes:
    """All events of a user share a partition, and so keep their order."""
    return str(user_id).encode()


def encode_envelope(envelope: Envelope) -> bytes:
    return _encoder.encode(envelope)


def decode_envelope(body: bytes) -> Envelope:
    """Read an event; unknown outer fields are ignored, so a newer writer does not stop an older reader."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedEnvelope(str(error)) from error


def decode_identity(body: bytes) -> EventIdentity:
    """Only the identity, several times faster than the whole."""
    try:
        return _identity_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedEnvelope(str(error)) from error
