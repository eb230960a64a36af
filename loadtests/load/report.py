"""What a run was, and who noticed, as one JSON document. Pure. `report_page` shows it to people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from loadtests.load.books import CellBooks
from loadtests.load.honesty import GeneratorFacts
from loadtests.load.measured import Figures, Measured, every, is_order, of_cell, of_class
from loadtests.load.order_audit import Audit
from loadtests.load.outcomes import Outcome
from loadtests.load.rule import Rule
from loadtests.load.run_folder import RunFacts
from loadtests.load.verdict import is_passed

SCHEMA_VERSION: Final = 1
"""Of the JSON document; it grows when a field's meaning changes."""
NOTICED_RATIO: Final = 3.0
"""A cell or a class noticed when its p99 in a phase is above this many times that of the first phase, or something
broke or was shed."""
NOTICED_MS: Final = 100.0
"""And above this: three times very little is still little."""
FEW: Final = 20
"""Fewer answers than this have no percentiles to compare."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that is known of a run once it is over."""

    facts: RunFacts
    measured: Measured
    generators: Sequence[GeneratorFacts]
    audit: Audit
    books: Sequence[CellBooks]
    rules: Sequence[Rule]
    locust: Mapping[str, Any]
    conditions: Mapping[str, Any]


def document_of(run: Run) -> dict[str, Any]:
    """The report for programs: verdict, facts, rules, then counts and latency by cell and by class of customers, phase
    by phase. Money is in micros, times are in the unit of their name.

    `orders` and `requests` have the same groups, so who was slow and who was refused can be laid beside each other.
    Latency counts from when a request was due; `from_sent` alone counts from when it left.
    """
    measured = run.measured
    groups = {"cell": (measured.cells, of_cell), "class": (measured.classes, of_class)}
    return {
        "schema_version": SCHEMA_VERSION,
        "passed": is_passed(run.rules),
        "run": msgspec.to_builtins(run.facts),
        "conditions": dict(run.conditions),
        "rules": [asdict(rule) for rule in run.rules],
        "generators": [msgspec.to_builtins(each) for each in run.generators],
        "audit": asdict(run.audit),
        "books": [msgspec.to_builtins(each) for each in run.books],
        "offered": offered(run),
        "orders": {
            "all": _phases(measured.by_phase(is_order)),
            **{
                f"{kind} {name}": _phases(measured.by_phase(every(is_order, of(name))))
                for kind, (names, of) in groups.items()
                for name in names
            },
        },
        "requests": {
            "all": _phases(measured.by_phase()),
            **{
                f"{kind} {name}": _phases(measured.by_phase(of(name)))
                for kind, (names, of) in groups.items()
                for name in names
            },
        },
        "noticed": [
            {"who": f"{kind} {name}", "phase": phase, "what": words}
            for kind, (names, of) in groups.items()
            for name in names
            for phase, words in who_noticed(measured.by_phase(of(name)))
        ],
        "from_sent": {
            name: {
                "count": each.count,
                "p95_ms": each.percentile_us(95) / 1000,
                "p99_ms": each.percentile_us(99) / 1000,
            }
            for name, each in sorted(measured.from_sent.items())
        },
        "locust": dict(run.locust),
    }


def who_noticed(phases: Sequence[tuple[str, float, Figures]]) -> list[tuple[str, str]]:
    """(phase, what) that a group of customers could tell of each phase, beside the first one."""
    found = []
    calm_us = phases[0][2].done.percentile_us(99) if phases and phases[0][2].done.count >= FEW else None
    for name, _, figures in phases:
        counts = (
            ("broke", figures.broken),
            ("were shed", figures.outcomes[Outcome.SHED]),
            ("were limited", figures.outcomes[Outcome.LIMITED]),
        )
        found += [(name, f"{count:,} of {figures.count:,} requests {what}") for what, count in counts if count]
        p99_us = figures.done.percentile_us(99)
        if calm_us and figures.done.count >= FEW and p99_us > max(calm_us * NOTICED_RATIO, NOTICED_MS * 1000):
            found.append((name, f"p99 {p99_us / 1000:.0f} ms, {p99_us / calm_us:.1f} times the first phase's"))
    return found


def offered(run: Run) -> list[dict[str, Any]]:
    """Beside what was planned, so that seven times can be seen to be seven times: `times` is of what was sent in the
    first phase."""
    shape = run.facts.traffic().shape
    first_per_s: float | None = None
    rows = []
    for name, seconds, figures in run.measured.by_phase():
        begin_s = next(begin for other, begin, _ in run.measured.spans if other == name)
        steps = [shape.at(begin_s + seconds * (step + 0.5) / 100)[0] for step in range(100)]
        planned = run.facts.base_per_s * sum(steps) / len(steps)
        per_s = figures.count / seconds
        first_per_s = first_per_s or per_s
        rows.append(
            {
                "phase": name,
                "seconds": seconds,
                "planned_per_s": round(planned, 2),
                "planned_times": round(planned / run.facts.base_per_s, 2),
                "per_s": round(per_s, 2),
                "times": round(per_s / first_per_s, 2) if first_per_s else 0.0,
            }
        )
    return rows


def _phases(phases: Sequence[tuple[str, float, Figures]]) -> list[dict[str, Any]]:
    return [{"phase": name, **figures.row(seconds)} for name, seconds, figures in phases]


def kept_document(run: Run, where: Mapping[str, Any]) -> dict[str, Any]:
    """For the results that are kept beside the benchmarks: with `where` it was measured, without addresses and paths
    of the machine."""
    document = document_of(run)
    facts = {name: value for name, value in document["run"].items() if name not in ("router_url", "accounts")}
    return {**document, "run": facts, "conditions": {**document["conditions"], **where}}
