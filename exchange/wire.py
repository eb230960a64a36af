"""The session between a cell and the exchange: frames, and the two sets of messages.

A frame is a 4-byte big-endian length and that many bytes of JSON, at most 1 MiB. Every number is an integer in micros
(micro-shares, micro-dollars). A cell opens with `hello`, naming the highest report it holds durably; the exchange
answers `welcome`, sends what came after that, then lives. Reports carry a per-session `seq` without gaps; nothing else
does. A report is on the exchange's disk before it is on the wire, and stays there until the cell acknowledges it.

A cell declares its own copy of what it reads (cell/executions/wire.py); tests/contract compares the two. Never change
the meaning of a field here: add one with a default.
"""

from typing import Annotated, Final, Literal

import msgspec

from exchange.errors import BadFrame

FRAME_BYTES_MAX: Final = 1 << 20
"""No message of the protocol comes near 1 MiB; a length beyond it is a peer that speaks something else."""
LENGTH_BYTES: Final = 4
"""Before each frame, big-endian."""

Name = Annotated[str, msgspec.Meta(max_length=128)]
"""Ids and names: a UUID has 36 characters, a client's own name at most 128."""
Sequence = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""Up to what JSON's readers keep exactly."""
Side = Literal["buy", "sell"]
OrdType = Literal["limit", "market"]
TimeInForce = Literal["day", "gtc", "ioc", "fok"]
OrdStatus = Literal["new", "partially_filled", "filled", "cancelled", "rejected", "expired", "replaced"]
ReportKind = Literal[
    "accepted",
    "fill",
    "cancelled",
    "rejected",
    "cancel_rejected",
    "expired",
    "status",
    "replaced",
    "replace_rejected",
    "bust",
    "correct",
]


class Hello(msgspec.Struct, tag_field="t", tag="hello", frozen=True):
    """`received` is the highest report this cell has committed to its inbox: it acknowledges everything up to there."""

    session: Name
    received: Sequence


class Submit(msgspec.Struct, tag_field="t", tag="submit", frozen=True, omit_defaults=True):
    """An order. Idempotent by `cl_ord_id`: a repeat is answered with a `status` report.

    A market order names its collar as `limit_px`; without one it trades at whatever the price is.
    """

    cl_ord_id: Name
    account: Name
    symbol: Name
    side: Side
    order_qty: int
    limit_px: int | None = None
    time_in_force: TimeInForce = "day"
    ord_type: OrdType = "limit"
    client_order_id: Name | None = None
    replaces: Name | None = None
    """Not for cells to send: the exchange's own note that this order came as a replacement."""
    cash_qty: int | None = None
    """An order by amount: it trades for at most so many micro-dollars, and is filled when the rest buys no micro-share.
    `order_qty` is then the most that it may trade, 0: any quantity. It needs a limit price."""


class Cancel(msgspec.Struct, tag_field="t", tag="cancel", frozen=True):
    """End what is left of an order. Any session may ask; a repeat is harmless."""

    cl_ord_id: Name
    account: Name = ""


class Replace(msgspec.Struct, tag_field="t", tag="replace", frozen=True, omit_defaults=True):
    """Let `cl_ord_id` take the place of `orig_cl_ord_id`. Idempotent by `cl_ord_id`: a repeat gets the same answer.

    `order_qty` counts what the original has filled, as in FIX. The new order begins with the rest, nothing filled.
    """

    cl_ord_id: Name
    orig_cl_ord_id: Name
    account: Name
    order_qty: int
    limit_px: int | None = None
    time_in_force: TimeInForce = "day"


class Status(msgspec.Struct, tag_field="t", tag="status", frozen=True):
    """Where does this order stand? Answered by a `status` report, or by `unknown`."""

    cl_ord_id: Name
    account: Name = ""


class Ack(msgspec.Struct, tag_field="t", tag="ack", frozen=True):
    """Everything up to and including `seq` is durable in the cell."""

    seq: Sequence


class Report(msgspec.Struct, tag_field="t", tag="report", frozen=True):
    """What happened to an order. `session` is the session that submitted it; `seq` belongs to the one that reads it.

    `exec_id` names a fill for ever, within (session, trade_date). Decide by `cum_qty` and `leaves_qty`: a `status`
    report is an answer, never a fill. `bust` and `correct` have an exec id of their own and name in `exec_ref_id` the
    execution that they take back; a correction carries the quantity and price that hold instead. `replaced` and
    `replace_rejected` are about the new order and name the old one in `orig_cl_ord_id`.
    """

    seq: int
    kind: ReportKind
    session: str
    trade_date: str
    cl_ord_id: str
    account: str
    symbol: str
    side: str
    ord_status: str
    cum_qty: int
    leaves_qty: int
    at: str
    venue_order_id: str | None = None
    exec_id: str | None = None
    last_qty: int | None = None
    last_px: int | None = None
    reason: str | None = None
    exec_ref_id: str | None = None
    orig_cl_ord_id: str | None = None


class Welcome(msgspec.Struct, tag_field="t", tag="welcome", frozen=True):
    """`session_id` names this connection, `log_id` the exchange's durable log: it changes only if that was deleted."""

    session_id: str
    log_id: str
    symbols: list[str]
    prices: dict[str, int]
    at: str
    bands: dict[str, tuple[int, int]] = {}
    """As in `prices`."""
    number: int = 0
    """Of the last `prices` that were published: these."""


class Prices(msgspec.Struct, tag_field="t", tag="prices", frozen=True):
    """Last prices that changed; also the heartbeat, so it may be empty. Conflated, never re-sent.

    `number` grows with every message, over restarts too, and is the same for every cell: of two prices the one with the
    higher number is the later one.

    `bands` are the price bands of the venue's own, whole each time: the lowest and the highest limit that it takes for
    a symbol, wherever the price is. Most symbols have none.
    """

    prices: dict[str, int]
    at: str
    bands: dict[str, tuple[int, int]] = {}
    number: int = 0


class Unknown(msgspec.Struct, tag_field="t", tag="unknown", frozen=True):
    """The answer to `status` for an order the exchange never accepted nor rejected: it is safe to send it."""

    cl_ord_id: str


class Failure(msgspec.Struct, tag_field="t", tag="failure", frozen=True):
    """Last words before the exchange closes a connection whose frames it cannot read."""

    detail: str


FromCell = Hello | Submit | Cancel | Replace | Status | Ack
ToCell = Report | Welcome | Prices | Unknown | Failure

_decoder: Final[msgspec.json.Decoder[FromCell]] = msgspec.json.Decoder(FromCell)
_encoder: Final = msgspec.json.Encoder()


def encode_message(message: ToCell | FromCell) -> bytes:
    """The JSON of one message, without its length."""
    return _encoder.encode(message)


def decode_message(body: bytes) -> FromCell:
    """One message from a cell; raises BadFrame."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise BadFrame(str(error)) from error


def frame(body: bytes) -> bytes:
    """The bytes that travel."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class FrameReader:
    """Cuts a byte stream into frames; holds at most one incomplete frame."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Every frame that is complete now; raises BadFrame when a length exceeds the limit."""
        held = self._held
        held += data
        bodies: list[bytes] = []
        position = 0
        while len(held) - position >= LENGTH_BYTES:
            length = int.from_bytes(held[position : position + LENGTH_BYTES], "big")
            if length > self._bytes_max:
                raise BadFrame(f"a frame of {length} bytes exceeds {self._bytes_max}")
            end = position + LENGTH_BYTES + length
            if end > len(held):
                break
            bodies.append(bytes(held[position + LENGTH_BYTES : end]))
            position = end
        if position:
            del held[:position]
        return bodies
