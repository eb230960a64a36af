"""What stands on a cell's topics against what its database says it has published: identities, not counts. Pure.

An event is (user, stream, number). Numbers have no gaps, so what was found is kept as ranges, one per user and stream
while nothing is missing: a hundred thousand users cost some hundred megabytes, however many events they have. Ledger
events carry the links of the user's hash chain; they are followed from one to the next, and the last published one must
be the head that the cell has. A copy changes nothing, and makes up for nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec

ORDERS: Final = "orders"
LEDGER: Final = "ledger"
SAMPLE_MAX: Final = 100
_NUMBER_MAX: Final = 2**63 - 1
_NO_HASH: Final = "00" * 32
"""What the first link of a chain continues."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a cell's user has been published for sure, and how far at most."""

    orders: int
    ledger: int
    chain_head: str
    """Of the last ledger event published for sure, in hex."""
    orders_written: int
    ledger_written: int


Heads = Mapping[bytes, Head]
"""By the sixteen bytes of the user's id."""


class _Link(msgspec.Struct, frozen=True):
    """What is read of an event's data: a ledger event has its place in the user's chain."""

    hash: str | None = None
    previous_hash: str | None = None


class PublishedEvent(msgspec.Struct, frozen=True):
    """What is read of an event."""

    user_id: UUID
    stream: str
    seq: int
    data: _Link = _Link()


@dataclass(slots=True)
class _Numbers:
    """Which numbers of a user and stream were found, as ranges in order."""

    ranges: list[list[int]] = field(default_factory=list)
    last_hash: str = ""

    def add(self, number: int) -> bool:
        """False: it was there already. In order, as a topic has them, this looks at the last range only."""
        ranges = self.ranges
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
            return True
        place = len(ranges)
        while place and ranges[place - 1][0] > number:
            place -= 1
        if place and number <= ranges[place - 1][1]:
            return False
        ranges.insert(place, [number, number])
        self._join(place)
        return True

    def _join(self, place: int) -> None:
        ranges = self.ranges
        if place + 1 < len(ranges) and ranges[place][1] + 1 == ranges[place + 1][0]:
            ranges[place][1] = ranges.pop(place + 1)[1]
        if place and ranges[place - 1][1] + 1 == ranges[place][0]:
            ranges[place - 1][1] = ranges.pop(place)[1]

    def gaps(self, until: int) -> Iterator[tuple[int, int]]:
        """What is absent of 1 to `until`."""
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
        """How many were found that were never written."""
        return sum(last - max(first, written + 1) + 1 for first, last in self.ranges if last > written)


@dataclass(frozen=True, slots=True)
class Published:
    """The answer. All but the first four are differences."""

    order_events: int
    ledger_events: int
    duplicates: int
    records: int
    missing: int
    """Events that were published for sure and are not there."""
    unknown: int
    """Events that are there and that the cell never wrote."""
    broken_links: int
    """Ledger events that do not continue the user's chain as published, or do not end it where the cell does."""
    malformed: int
    """Records that are no event of their topic."""
    sample: tuple[dict[str, object], ...]

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.unknown or self.broken_links or self.malformed)


class Collected:
    """Events as they are read; `heads` is what the cell had said before the reading began."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._found: dict[str, dict[bytes, _Numbers]] = {ORDERS: {}, LEDGER: {}}
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
        if event is None or event.stream != stream or not 0 < event.seq <= _NUMBER_MAX:
            self._malformed += 1
            return
        user = event.user_id.bytes
        numbers = self._found[stream].get(user)
        if numbers is None:
            numbers = self._found[stream][user] = _Numbers()
        before = numbers.ranges[-1][1] if numbers.ranges else 0
        if numbers.add(event.seq):
            self._events[stream] += 1
        if stream == LEDGER:
            self._follow(user, numbers, before, event)

    def _follow(self, user: bytes, numbers: _Numbers, before: int, event: PublishedEvent) -> None:
        link, head = event.data, self._heads.get(user)
        continues = event.seq != before + 1 or link.previous_hash == (numbers.last_hash or _NO_HASH)
        agrees = event.seq != before or link.hash == numbers.last_hash
        ends = head is None or event.seq != head.ledger or link.hash == head.chain_head
        if not (continues and agrees and ends):
            self._broken_links += 1
            self._show(user, LEDGER, "does not fit the chain", event.seq, event.seq)
        if event.seq > before:
            numbers.last_hash = link.hash or ""

    def compare(self, after: Heads) -> Published:
        """`after` is what the cell says now that everything was read: more may have been written meanwhile."""
        missing = 0
        for user, head in self._heads.items():
            for stream, until in ((ORDERS, head.orders), (LEDGER, head.ledger)):
                for first, last in self._found[stream].get(user, _Numbers()).gaps(until):
                    missing += last - first + 1
                    self._show(user, stream, "missing", first, last)
        unknown = 0
        for stream, found in self._found.items():
            for user, numbers in found.items():
                now = after.get(user)
                written = 0 if now is None else now.orders_written if stream == ORDERS else now.ledger_written
                if (more := numbers.beyond(written)) > 0:
                    unknown += more
                    self._show(user, stream, "never written", written + 1, numbers.ranges[-1][1])
        events = self._events[ORDERS] + self._events[LEDGER]
        return Published(
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

    def _show(self, user: bytes, stream: str, problem: str, first: int, last: int) -> None:
        if len(self._sample) < SAMPLE_MAX:
            self._sample.append(
                {"user_id": str(UUID(bytes=user)), "stream": stream, "problem": problem, "first": first, "last": last}
            )
