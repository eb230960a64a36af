"""Compare the events on a cell's topics with what its database says it has published, by identity, not by count. Pure.

An event is identified by user, stream and sequence. Sequences have no gaps, so the sequences that were found are kept
as ranges: one per user and stream while nothing is missing. A hundred thousand users cost some hundred megabytes,
however many events they have. Ledger events carry the links of the user's hash chain; each must continue the one
before, and the last published one must be the chain head that the cell has. A duplicate is counted and never fills a
gap.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec

ORDERS: Final = "orders"
LEDGER: Final = "ledger"
SAMPLE_MAX: Final = 100
"""Differences that are listed one by one, the most that a cell keeps with a run; all are counted."""
_SEQ_MAX: Final = 2**63 - 1
"""A sequence is a bigint in the database."""
_GENESIS_HASH: Final = "00" * 32
"""The previous hash of a chain's first link."""


@dataclass(frozen=True, slots=True)
class Head:
    """Of one user: the last sequence that is certainly published, and the last that is written, per stream."""

    orders: int
    ledger: int
    chain_head: str
    """Hash of the last ledger event that is certainly published, in hex; empty if there is none."""
    orders_written: int
    ledger_written: int


Heads = Mapping[bytes, Head]
"""Keyed by the sixteen bytes of the user's id."""


class _Link(msgspec.Struct, frozen=True):
    """What is read of an event's data: the links of a ledger event; an order event has none."""

    hash: str | None = None
    previous_hash: str | None = None


class PublishedEvent(msgspec.Struct, frozen=True):
    """The fields of an event that identify it."""

    user_id: UUID
    stream: str
    seq: int
    data: _Link = _Link()


@dataclass(slots=True)
class _Sequences:
    """The sequences of one user and stream that were found, as ascending ranges [first, last] that do not touch."""

    ranges: list[list[int]] = field(default_factory=list)
    last_hash: str = ""

    def add(self, seq: int) -> bool:
        """Whether it is new; false for a duplicate.

        A topic has a user's events in order, so the first branch (the sequence that continues the last range) is nearly
        every call. Otherwise the range that starts at or before `seq` is sought from the end; if `seq` lies in it, it
        is a duplicate. Else it becomes a range of its own and is merged with the neighbours that it touches.
        """
        ranges = self.ranges
        if ranges and seq == ranges[-1][1] + 1:
            ranges[-1][1] = seq
            return True
        index = len(ranges)
        while index and ranges[index - 1][0] > seq:
            index -= 1
        if index and seq <= ranges[index - 1][1]:
            return False
        ranges.insert(index, [seq, seq])
        self._merge_neighbours(index)
        return True

    def _merge_neighbours(self, index: int) -> None:
        ranges = self.ranges
        if index + 1 < len(ranges) and ranges[index][1] + 1 == ranges[index + 1][0]:
            ranges[index][1] = ranges.pop(index + 1)[1]
        if index and ranges[index - 1][1] + 1 == ranges[index][0]:
            ranges[index - 1][1] = ranges.pop(index)[1]

    def gaps(self, until: int) -> Iterator[tuple[int, int]]:
        """The ranges between 1 and `until` that were not found."""
        after = 0
        for first, last in self.ranges:
            if first > until:
                break
            if first > after + 1:
                yield after + 1, first - 1
            after = max(after, last)
        if after < until:
            yield after + 1, until

    def beyond(self, written: int) -> int:
        """How many were found after the last one that was written."""
        return sum(last - max(first, written + 1) + 1 for first, last in self.ranges if last > written)


@dataclass(frozen=True, slots=True)
class EventComparison:
    """The result. `missing`, `unknown`, `broken_links` and `malformed` are differences; the rest are counts."""

    order_events: int
    ledger_events: int
    duplicates: int
    records: int
    missing: int
    """Events that are certainly published and are not on the topic."""
    unknown: int
    """Events on the topic that the cell never wrote."""
    broken_links: int
    """Ledger events that do not continue the user's chain, or do not end it at the cell's chain head."""
    malformed: int
    """Records that cannot be decoded as an event of their stream."""
    sample: tuple[dict[str, object], ...]

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.unknown or self.broken_links or self.malformed)


class EventCollector:
    """Takes records as they are read; `heads` are those that the cell gave before the reading began."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._found: dict[str, dict[bytes, _Sequences]] = {ORDERS: {}, LEDGER: {}}
        self._events = {ORDERS: 0, LEDGER: 0}
        self._decoder = msgspec.json.Decoder(PublishedEvent)
        self._records = self._malformed = self._broken_links = 0
        self._sample: list[dict[str, object]] = []

    def add(self, stream: str, body: bytes) -> None:
        """One record of a stream's topic."""
        self._records += 1
        try:
            event = self._decoder.decode(body)
        except msgspec.DecodeError:
            event = None
        if event is None or event.stream != stream or not 0 < event.seq <= _SEQ_MAX:
            self._malformed += 1
            return
        user = event.user_id.bytes
        found = self._found[stream].get(user)
        if found is None:
            found = self._found[stream][user] = _Sequences()
        last = found.ranges[-1][1] if found.ranges else 0
        if found.add(event.seq):
            self._events[stream] += 1
        if stream == LEDGER:
            self._check_link(user, found, last, event)

    def _check_link(self, user: bytes, found: _Sequences, last: int, event: PublishedEvent) -> None:
        """One broken link is counted once, whichever of three rules it breaks.

        The event after the last one must name its hash. A duplicate of the last one must have the same hash. The one at
        the cell's published head must have the head's hash. An event after a gap cannot be compared with the one
        before, and the gap is counted as missing.
        """
        link, head = event.data, self._heads.get(user)
        continues = event.seq != last + 1 or link.previous_hash == (found.last_hash or _GENESIS_HASH)
        agrees = event.seq != last or link.hash == found.last_hash
        ends = head is None or event.seq != head.ledger or link.hash == head.chain_head
        if not (continues and agrees and ends):
            self._broken_links += 1
            self._add_sample(user, LEDGER, "does not fit the chain", event.seq, event.seq)
        if event.seq > last:
            found.last_hash = link.hash or ""

    def compare(self, after: Heads) -> EventComparison:
        """`after` are the heads now that everything was read: the cell may have written more meanwhile."""
        missing = 0
        for user, head in self._heads.items():
            for stream, until in ((ORDERS, head.orders), (LEDGER, head.ledger)):
                for first, last in self._found[stream].get(user, _Sequences()).gaps(until):
                    missing += last - first + 1
                    self._add_sample(user, stream, "missing", first, last)
        unknown = 0
        for stream, by_user in self._found.items():
            for user, found in by_user.items():
                now = after.get(user)
                written = 0 if now is None else now.orders_written if stream == ORDERS else now.ledger_written
                if (more := found.beyond(written)) > 0:
                    unknown += more
                    self._add_sample(user, stream, "never written", written + 1, found.ranges[-1][1])
        events = self._events[ORDERS] + self._events[LEDGER]
        return EventComparison(
            order_events=self._events[ORDERS],
            ledger_events=self._events[LEDGER],
            duplicates=self._records - self._malformed - events,
            records=self._records,
            missing=missing,
            unknown=unknown,
            broken_links=self._broken_links,
            malformed=self._malformed,
            sample=tuple(self._sample),
        )

    def _add_sample(self, user: bytes, stream: str, problem: str, first: int, last: int) -> None:
        if len(self._sample) < SAMPLE_MAX:
            self._sample.append(
                {"user_id": str(UUID(bytes=user)), "stream": stream, "problem": problem, "first": first, "last": last}
            )
