"""What this cell reads and writes on its session with the exchange. Its own declaration: it shares no class with the
other side, because both are released apart; tests/contract compares the two.

Frames are a 4-byte big-endian length and that many bytes of JSON. Numbers are integers in micros. Fields that this cell
does not know are passed over; a report's bytes are kept whole, so that nothing the venue said is lost.
"""

from typing import Final, Literal

import msgspec

FRAME_BYTES_MAX: Final = 1 << 20
"""As the exchange keeps it: no message comes near 1 MiB, so a longer frame is something else than the protocol."""
LENGTH_BYTES: Final = 4
"""Before each frame, big-endian."""


class FrameTooLong(Exception):
    """The venue announced a frame beyond the limit; the connection is of no use any more."""


class Hello(msgspec.Struct, tag_field="t", tag="hello", frozen=True):
    session: str
    received: int


class Submit(msgspec.Struct, tag_field="t", tag="submit", frozen=True, omit_defaults=True):
    cl_ord_id: str
    account: str
    symbol: str
    side: str
    order_qty: int
    limit_px: int | None = None
    time_in_force: str = "day"
    ord_type: Literal["limit", "market"] = "limit"
    client_order_id: str | None = None
    cash_qty: int | None = None
    """An order by amount, which `order_qty` may cap; 0: it does not."""


class Cancel(msgspec.Struct, tag_field="t", tag="cancel", frozen=True):
    cl_ord_id: str
    account: str = ""


class Replace(msgspec.Struct, tag_field="t", tag="replace", frozen=True, omit_defaults=True):
    """`order_qty` counts what the original has filled, as FIX does."""

    cl_ord_id: str
    orig_cl_ord_id: str
    account: str
    order_qty: int
    limit_px: int | None = None
    time_in_force: str = "day"


class Status(msgspec.Struct, tag_field="t", tag="status", frozen=True):
    cl_ord_id: str
    account: str = ""


class Ack(msgspec.Struct, tag_field="t", tag="ack", frozen=True):
    seq: int


class Report(msgspec.Struct, tag_field="t", tag="report", frozen=True):
    """Only what the worker itself must understand; the procedure reads the rest from the stored body."""

    seq: int
    kind: str
    cl_ord_id: str


class Welcome(msgspec.Struct, tag_field="t", tag="welcome", frozen=True):
    session_id: str
    log_id: str
    prices: dict[str, int]
    bands: dict[str, tuple[int, int]] = {}
    number: int = 0
    """As in `prices`."""


class Prices(msgspec.Struct, tag_field="t", tag="prices", frozen=True):
    """`bands`: lowest and highest limit where the venue has a price band of its own, whole each time. `number`:
    of these prices, later ones have a higher one; 0: a venue that does not number them."""

    prices: dict[str, int]
    bands: dict[str, tuple[int, int]] = {}
    number: int = 0


class Unknown(msgspec.Struct, tag_field="t", tag="unknown", frozen=True):
    cl_ord_id: str


class Failure(msgspec.Struct, tag_field="t", tag="failure", frozen=True):
    detail: str


ToVenue = Hello | Submit | Cancel | Replace | Status | Ack
FromVenue = Report | Welcome | Prices | Unknown | Failure

_decoder: Final[msgspec.json.Decoder[FromVenue]] = msgspec.json.Decoder(FromVenue)
_encoder: Final = msgspec.json.Encoder()


def encode_frame(message: ToVenue) -> bytes:
    """The bytes that travel."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_body(body: bytes) -> FromVenue:
    """One message; raises msgspec.MsgspecError."""
    return _decoder.decode(body)


def cut_frames(held: bytearray) -> list[bytes]:
    """Take every complete frame off the front; raises FrameTooLong."""
    bodies: list[bytes] = []
    position = 0
    while len(held) - position >= LENGTH_BYTES:
        length = int.from_bytes(held[position : position + LENGTH_BYTES], "big")
        if length > FRAME_BYTES_MAX:
            raise FrameTooLong(f"a frame of {length} bytes exceeds {FRAME_BYTES_MAX}")
        end = position + LENGTH_BYTES + length
        if end > len(held):
            break
        bodies.append(bytes(held[position + LENGTH_BYTES : end]))
        position = end
    del held[:position]
    return bodies
