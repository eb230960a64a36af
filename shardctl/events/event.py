"""What the operators' command reads of an event, and what an event proves by itself. Pure.

The event id is a function of user, stream and sequence, and the key of the record is the user: an event that was moved
to another user, stream or sequence tells on itself. A ledger event carries everything that its hash was made of, so it
also proves its contents. An order event does not: what it says can only be compared with another copy of it.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import msgspec

from infra.runtime.envelope import event_id

ORDERS: Final = "orders"
LEDGER: Final = "ledger"
_SEQ_MAX: Final = 2**63 - 1
"""A sequence is a bigint in the database."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Posting(msgspec.Struct, frozen=True):
    """One line of a journal entry; decimal strings, exactly one of the two."""

    account: str
    unit: str
    debit: str | None = None
    credit: str | None = None


class _Data(msgspec.Struct, frozen=True, rename={"from_status": "from", "to_status": "to"}):
    """The fields of both streams' data; those of the other stream are absent."""

    order_id: str | None = None
    entry_id: str = ""
    kind: str = ""
    postings: tuple[Posting, ...] = ()
    hash: str = ""
    previous_hash: str = ""
    order_seq: int = 0
    from_status: str = ""
    to_status: str = ""
    exec_id: str | None = None
    last_qty: str | None = None
    last_px: str | None = None
    cum_qty: str = ""
    cum_cost: str = ""


class PublishedEvent(msgspec.Struct, frozen=True):
    """One record of a cell's topic."""

    event_id: str
    type: str
    cell: str
    user_id: UUID
    stream: str
    seq: int
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]
    data: _Data
    write_seq: int = 0
    """Of the user's write that it tells."""

    def belongs(self, cell: str, stream: str, key: bytes | None) -> bool:
        """Whether cell, stream, key, id, type, user and sequence are those of one event."""
        user = str(self.user_id)
        said = f"order.{self.data.to_status}" if stream == ORDERS else f"ledger.{self.data.kind}"
        return (
            self.cell == cell
            and self.stream == stream
            and 0 < self.seq <= _SEQ_MAX
            and key == user.encode()
            and self.type == said
            and self.event_id == event_id(user, stream, self.seq)
        )

    def entry_hash(self) -> str:
        """The hash that a journal entry of these contents has, in hex: format 1, as in the cell's check
        `chain_verifies`, written here anew. Raises ValueError: an amount, an id or the previous hash is none."""
        data = self.data
        lines = ";".join(
            f"{line},{each.account},{each.unit},{_amount(each)}" for line, each in enumerate(data.postings, start=1)
        )
        at = (self.occurred_at - _EPOCH) // _MICROSECOND
        text = f"1|{self.user_id}|{self.seq}|{data.entry_id}|{data.kind}|{data.order_id or '-'}|{at}|{lines}"
        return hashlib.sha256(bytes.fromhex(data.previous_hash) + text.encode()).hexdigest()

    def substance(self) -> object:
        """What every copy of the event must say alike, also one that another release published."""
        data = self.data
        if self.stream == LEDGER:
            return data.hash, data.previous_hash
        return (
            data.order_id,
            data.order_seq,
            data.from_status,
            data.to_status,
            data.exec_id,
            data.last_qty,
            data.last_px,
            data.cum_qty,
            data.cum_cost,
            self.occurred_at,
        )


def _amount(posting: Posting) -> str:
    """`debit,1500000` of a debit of 1.5; raises ValueError."""
    if (posting.debit is None) == (posting.credit is None):
        raise ValueError("a posting is a debit or a credit")
    direction, text = ("debit", posting.debit) if posting.debit is not None else ("credit", posting.credit)
    whole, point, fraction = str(text).partition(".")
    if not (point and whole.isdigit() and fraction.isdigit() and len(fraction) == 6):
        raise ValueError("an amount has six decimals")
    return f"{direction},{int(whole + fraction)}"
