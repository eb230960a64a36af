"""Compare the events on a cell's topics with what its database says it has published, by identity, not by count. Pure.

An event is identified by user, stream and sequence. Sequences have no gaps, so the sequences that were found are kept
as ranges: one per user and stream while nothing is missing. A hundred thousand users cost some hundred megabytes,
however many events they have. Each event must belong where it is, and a ledger event must be what its hash says
(`event.py`). Where two ledger events are neighbours, in whatever order they were found, one must continue the other,
and the last published one must be the chain head that the cell has. A copy is counted and never fills a gap. Copies are
few, so what they say is kept, and compared with the first ones in a second reading (`add_again`). What a restore has
lost, and what other cells have published before a user came here, is left out (`lost.py`). Over the latter the link is
not compared, because the event before it lies in another cell's topic; the links behind it lead up to the chain head.

What it cannot see: the contents of an order event of which there is one copy; its id and place are proven, and an
order's fills are in the ledger.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec

from shardctl.events.event import LEDGER, ORDERS, PublishedEvent
from shardctl.events.lost import Ranges, close_holes, count_until, open_holes

SAMPLE_MAX: Final = 100
"""Differences that are listed one by one, the most that a cell keeps with a run; all are counted."""
COPIES_MAX: Final = 1_000_000
"""Copies that are compared, some 400 bytes each; a relay that was killed leaves at most two thousand. One beyond them
is counted as malformed: nobody says that it is equal."""
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
    lost_orders: Ranges = ()
    """Numbers that are not here: lost by a restore, of users who were released since; or published elsewhere."""
    lost_ledger: Ranges = ()
    continued_ledger: frozenset[int] = frozenset()
    """Those of which the number before was published by another cell."""

    @property
    def orders_here(self) -> int:
        """How many events of the stream the cell's topic holds for certain."""
        return count_until(self.orders, self.lost_orders)

    @property
    def ledger_here(self) -> int:
        return count_until(self.ledger, self.lost_ledger)


@dataclass(frozen=True, slots=True)
class Known:
    """The last numbers of a user's events that the topics hold."""

    orders: int
    ledger: int
    write_seq: int
    """Of those events that the cell has not written; 0 if there are none."""


Heads = Mapping[bytes, Head]
"""Keyed by the sixteen bytes of the user's id."""


@dataclass(slots=True)
class _Range:
    """The sequences first to last were all found; `before` is the previous hash of the first (None: another cell's),
    `end` the last hash."""

    first: int
    last: int
    before: str | None
    end: str


@dataclass(slots=True)
class _Sequences:
    """The sequences of one user and stream that were found, as ascending ranges that do not touch."""

    ranges: list[_Range] = field(default_factory=list)

    def add(self, seq: int, previous_hash: str | None, own_hash: str) -> bool | None:
        """Whether it continues its neighbours' chain, as far as they were found; None for a copy. Without a previous
        hash it continues whatever is before.

        A topic has a user's events in order, so the first branch (the sequence that continues the last range) is nearly
        every call. Otherwise the range that starts at or before `seq` is sought from the end; if `seq` lies in it, it
        is a copy. Else it becomes a range of its own and is merged with the neighbours that it touches.
        """
        ranges = self.ranges
        if ranges and seq == ranges[-1].last + 1:
            fits = previous_hash in (None, ranges[-1].end)
            ranges[-1].last, ranges[-1].end = seq, own_hash
            return fits
        index = len(ranges)
        while index and ranges[index - 1].first > seq:
            index -= 1
        if index and seq <= ranges[index - 1].last:
            return None
        ranges.insert(index, _Range(seq, seq, previous_hash, own_hash))
        return self._merge(index + 1) & self._merge(index)

    def _merge(self, index: int) -> bool:
        """Join the range at `index` to the one before if they touch; False if their chains do not."""
        ranges = self.ranges
        if not 0 < index < len(ranges) or ranges[index - 1].last + 1 != ranges[index].first:
            return True
        after = ranges.pop(index)
        fits = after.before in (None, ranges[index - 1].end)
        ranges[index - 1].last, ranges[index - 1].end = after.last, after.end
        return fits

    def gaps(self, until: int) -> Iterator[tuple[int, int]]:
        """The ranges between 1 and `until` that were not found."""
        after = 0
        for each in self.ranges:
            if each.first > until:
                break
            if each.first > after + 1:
                yield after + 1, each.first - 1
            after = max(after, each.last)
        if after < until:
            yield after + 1, until

    def beyond(self, written: int) -> int:
        """How many were found after the last one that was written."""
        return sum(each.last - max(each.first, written + 1) + 1 for each in self.ranges if each.last > written)


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
    """Ledger events that do not continue the user's chain, are not what their hash says, or do not end it at the cell's
    chain head."""
    malformed: int
    """Records that are no event of this cell, stream and user, and copies that say something else than the first."""
    sample: tuple[dict[str, object], ...]
    ahead: tuple[str, ...] = ()
    """Users of whom the topics hold events that the cell never wrote, or that are not in the cell's chain."""
    known: Mapping[str, Known] = field(default_factory=dict)
    """Of the users that are ahead."""

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.unknown or self.broken_links or self.malformed)


class EventCollector:
    """Takes records as they are read; `heads` are those that the cell gave before the reading began."""

    def __init__(self, cell: str, heads: Heads) -> None:
        self._cell = cell
        self._heads = heads
        self._found: dict[str, dict[bytes, _Sequences]] = {ORDERS: {}, LEDGER: {}}
        self._events = {ORDERS: 0, LEDGER: 0}
        self._copies: dict[tuple[str, bytes, int], object] = {}
        self._decoder = msgspec.json.Decoder(PublishedEvent)
        self._records = self._duplicates = self._malformed = self._broken_links = 0
        self._unchained: set[bytes] = set()
        self._sample: list[dict[str, object]] = []
        self._lost = {
            (stream, user): ranges
            for user, head in heads.items()
            for stream, ranges in ((ORDERS, head.lost_orders), (LEDGER, head.lost_ledger))
            if ranges
        }
        self._continued = {user: head.continued_ledger for user, head in heads.items() if head.continued_ledger}
        self._write_seqs: dict[bytes, int] = {}

    @property
    def has_copies(self) -> bool:
        """Read everything again, by `add_again`, before `compare`."""
        return bool(self._copies)

    def add(self, stream: str, key: bytes | None, body: bytes) -> None:
        """One record of a stream's topic."""
        self._records += 1
        event = self._event_of(stream, key, body)
        if event is None:
            self._malformed += 1
            return
        user, data = event.user_id.bytes, event.data
        seq = close_holes(event.seq, self._lost.get((stream, user), ()))
        if seq is None:
            return
        if event.seq > _written(self._heads.get(user), stream):
            self._write_seqs[user] = max(event.write_seq, self._write_seqs.get(user, 0))
        found = self._found[stream].get(user)
        if found is None:
            found = self._found[stream][user] = _Sequences()
        is_continued = stream == LEDGER and event.seq in self._continued.get(user, ())
        fits = found.add(seq, None if is_continued else data.previous_hash, data.hash)
        if fits is None:
            self._duplicates += 1
            self._note_copy(stream, user, event)
        else:
            self._events[stream] += 1
        if stream == LEDGER and not (fits is not False and self._proves_itself(event)):
            self._broken_links += 1
            self._unchained.add(user)
            self._add_sample(user, LEDGER, "does not fit the chain", event.seq, event.seq)

    def add_again(self, stream: str, key: bytes | None, body: bytes) -> None:
        """The same record in the second reading: of what has copies, all must say the same."""
        event = self._event_of(stream, key, body)
        if event is None:
            return
        copy = self._copies.get((stream, event.user_id.bytes, event.seq))
        if copy is not None and copy != event.substance():
            self._malformed += 1
            self._add_sample(event.user_id.bytes, stream, "copies differ", event.seq, event.seq)

    def _event_of(self, stream: str, key: bytes | None, body: bytes) -> PublishedEvent | None:
        try:
            event = self._decoder.decode(body)
        except msgspec.DecodeError:
            return None
        return event if event.belongs(self._cell, stream, key) else None

    def _note_copy(self, stream: str, user: bytes, event: PublishedEvent) -> None:
        if len(self._copies) < COPIES_MAX:
            self._copies[stream, user, event.seq] = event.substance()
        elif (stream, user, event.seq) not in self._copies:
            self._malformed += 1
            self._add_sample(user, stream, "too many copies to compare", event.seq, event.seq)

    def _proves_itself(self, event: PublishedEvent) -> bool:
        """Its contents have its hash, the first begins the chain, and the last published one is the chain's head."""
        data, head = event.data, self._heads.get(event.user_id.bytes)
        try:
            is_true = event.entry_hash() == data.hash
        except ValueError:
            return False
        begins = event.seq != 1 or data.previous_hash == _GENESIS_HASH
        ends = head is None or event.seq != head.ledger or data.hash == head.chain_head
        return is_true and begins and ends

    def compare(self, after: Heads) -> EventComparison:
        """`after` are the heads now that everything was read: the cell may have written more meanwhile."""
        missing = 0
        for user, head in self._heads.items():
            for stream, until in ((ORDERS, head.orders), (LEDGER, head.ledger)):
                lost = self._lost.get((stream, user), ())
                until = count_until(until, lost)
                for first, last in self._found[stream].get(user, _Sequences()).gaps(until):
                    missing += last - first + 1
                    self._add_sample(user, stream, "missing", open_holes(first, lost), open_holes(last, lost))
        unknown = 0
        ahead = set(self._unchained)
        for stream, by_user in self._found.items():
            for user, found in by_user.items():
                written = _written(after.get(user), stream)
                until = count_until(written, self._lost.get((stream, user), ()))
                if (more := found.beyond(until)) > 0:
                    unknown += more
                    ahead.add(user)
                    self._add_sample(user, stream, "never written", written + 1, self._last(user, stream))
        return EventComparison(
            order_events=self._events[ORDERS],
            ledger_events=self._events[LEDGER],
            duplicates=self._duplicates,
            records=self._records,
            missing=missing,
            unknown=unknown,
            broken_links=self._broken_links,
            malformed=self._malformed,
            sample=tuple(self._sample),
            ahead=tuple(sorted(str(UUID(bytes=user)) for user in ahead)),
            known={str(UUID(bytes=user)): self._known(user) for user in ahead},
        )

    def _known(self, user: bytes) -> Known:
        orders, ledger = (self._last(user, stream) for stream in (ORDERS, LEDGER))
        return Known(orders, ledger, self._write_seqs.get(user, 0))

    def _last(self, user: bytes, stream: str) -> int:
        found = self._found[stream].get(user)
        lost = self._lost.get((stream, user), ())
        last = open_holes(found.ranges[-1].last, lost) if found else 0
        return max(last, lost[-1][1] if lost else 0)

    def _add_sample(self, user: bytes, stream: str, problem: str, first: int, last: int) -> None:
        if len(self._sample) < SAMPLE_MAX:
            self._sample.append(
                {"user_id": str(UUID(bytes=user)), "stream": stream, "problem": problem, "first": first, "last": last}
            )


def _written(head: Head | None, stream: str) -> int:
    """The last number that the cell has given out."""
    if head is None:
        return 0
    return head.orders_written if stream == ORDERS else head.ledger_written
