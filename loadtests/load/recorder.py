"""What one generator process measured: latencies by second, class, cell, operation and outcome, and every order.

Latency counts from when the request was due, so a customer who was kept waiting by their own last request counts as
waiting. Orders go to a journal, a line each, as soon as their outcome is known; an order that was sent before the run
ended and has no line was never answered, and `close` writes it as unknown. No secret is in either file.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TextIO

import msgspec

from loadtests.load.histogram import LatencyHistogram
from loadtests.load.outcomes import Outcome

JOURNAL_PATTERN: Final = "orders-*.jsonl"
SAMPLES_PATTERN: Final = "samples-*.json"
INTERVALS_MAX: Final = 600
"""Points of a plot, and what bounds the memory of a long run."""


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order as it left; `body` is what is sent again if nobody knows what became of it."""

    account: str
    client_order_id: str
    key: str
    body: dict[str, str]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    order: SentOrder
    outcome: str
    status: int
    code: str | None = None
    order_id: str | None = None
    cell: str | None = None


class Key(msgspec.Struct, frozen=True):
    """What a histogram is of. `interval` counts from the opening of the gate."""

    interval: int
    customer_class: str
    cell: str
    operation: str
    outcome: str


class Samples(msgspec.Struct):
    """One process's file."""

    process: str
    interval_s: float
    from_due: list[tuple[Key, dict[str, object]]]
    from_sent: dict[str, dict[str, object]]
    """By operation, as Locust itself counts: without the wait before."""
    generator: dict[str, object]


def interval_s(duration_s: float) -> float:
    return max(1.0, duration_s / INTERVALS_MAX)


class Recorder:
    def __init__(self, folder: Path, process: str, duration_s: float) -> None:
        self._process = process
        self._folder = folder
        self._interval_s = interval_s(duration_s)
        self._from_due: dict[Key, LatencyHistogram] = defaultdict(LatencyHistogram)
        self._from_sent: dict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        self._under_way: dict[str, SentOrder] = {}
        self._journal: TextIO = (folder / f"orders-{process}.jsonl").open("x", encoding="ascii")

    def sends(self, order: SentOrder) -> None:
        self._under_way[order.client_order_id] = order

    def answered(
        self,
        order: SentOrder,
        outcome: Outcome,
        status: int,
        *,
        code: str | None = None,
        order_id: str | None = None,
        cell: str | None = None,
    ) -> None:
        del self._under_way[order.client_order_id]
        self._write(JournalEntry(order, outcome, status, code, order_id, cell))

    def measured(
        self,
        due_s: float,
        customer_class: str,
        cell: str,
        operation: str,
        outcome: Outcome,
        *,
        from_due_s: float,
        from_sent_s: float,
    ) -> None:
        key = Key(int(due_s // self._interval_s), customer_class, cell, operation, outcome)
        self._from_due[key].record(round(from_due_s * 1_000_000))
        self._from_sent[operation].record(round(from_sent_s * 1_000_000))

    def close(self, generator: dict[str, object]) -> None:
        for order in self._under_way.values():
            self._write(JournalEntry(order, Outcome.UNKNOWN, 0))
        self._under_way.clear()
        self._journal.close()
        samples = Samples(
            process=self._process,
            interval_s=self._interval_s,
            from_due=[(key, histogram.document()) for key, histogram in self._from_due.items()],
            from_sent={name: histogram.document() for name, histogram in self._from_sent.items()},
            generator=generator,
        )
        (self._folder / f"samples-{self._process}.json").write_bytes(msgspec.json.encode(samples))

    def _write(self, entry: JournalEntry) -> None:
        self._journal.write(msgspec.json.encode(asdict(entry)).decode("ascii", "backslashreplace") + "\n")


def read_samples(folder: Path) -> list[Samples]:
    return [msgspec.json.decode(path.read_bytes(), type=Samples) for path in sorted(folder.glob(SAMPLES_PATTERN))]


def read_journal(folder: Path) -> list[JournalEntry]:
    return [
        msgspec.json.decode(line, type=JournalEntry)
        for path in sorted(folder.glob(JOURNAL_PATTERN))
        for line in path.read_bytes().splitlines()
    ]
