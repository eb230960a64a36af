"""What a run was, and who noticed: one JSON document, and one HTML file of it with its plots inside. Pure.

The document holds every figure that the page shows. Nobody who reads the page was there: so it says the shape, the
seed, the rates, the customers, the machine, the state of the generator, and what each word means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Final

import msgspec

from loadtests.load.books import CellBooks
from loadtests.load.honesty import GeneratorFacts
from loadtests.load.measured import Figures, Measured, every, is_order, of_cell, of_class
from loadtests.load.order_audit import Audit
from loadtests.load.outcomes import Outcome
from loadtests.load.plots import Series, plot
from loadtests.load.run_folder import RunFacts
from loadtests.load.verdict import ORDER_P95_MS_MAX, Rule, is_passed

SCHEMA_VERSION: Final = 1
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
    by phase. Money is in micros, times are in the unit of their name."""
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
        "offered": _offered(run),
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
            {"who": f"{kind} {name}", "what": words}
            for kind, (names, of) in groups.items()
            for name in names
            for words in who_noticed(measured.by_phase(of(name)))
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


def who_noticed(phases: Sequence[tuple[str, float, Figures]]) -> list[str]:
    """What a group of customers could tell of each phase, beside the first one."""
    found = []
    calm_us = phases[0][2].done.percentile_us(99) if phases and phases[0][2].done.count >= FEW else None
    for name, _, figures in phases:
        if figures.broken:
            found.append(f"{name}: {figures.broken:,} requests broke")
        if shed := figures.outcomes[Outcome.SHED]:
            found.append(f"{name}: {shed:,} requests were shed")
        p99_us = figures.done.percentile_us(99)
        if calm_us and figures.done.count >= FEW and p99_us > max(calm_us * NOTICED_RATIO, NOTICED_MS * 1000):
            found.append(f"{name}: p99 {p99_us / 1000:.0f} ms, {p99_us / calm_us:.1f} times the first phase's")
    return found


def _offered(run: Run) -> list[dict[str, Any]]:
    """Beside what was planned, so that seven times can be seen to be seven times."""
    shape = run.facts.traffic().shape
    rows = []
    for name, seconds, figures in run.measured.by_phase():
        begin_s = next(begin for other, begin, _ in run.measured.spans if other == name)
        steps = [shape.at(begin_s + seconds * (step + 0.5) / 100)[0] for step in range(100)]
        planned = run.facts.base_per_s * sum(steps) / len(steps)
        rows.append({"phase": name, "planned_per_s": round(planned, 2), "per_s": round(figures.count / seconds, 2)})
    return rows


def _phases(phases: Sequence[tuple[str, float, Figures]]) -> list[dict[str, Any]]:
    return [{"phase": name, **figures.row(seconds)} for name, seconds, figures in phases]


def page_of(run: Run, document: Mapping[str, Any]) -> str:
    """The whole page; it loads nothing from anywhere.

    In order: the run's facts, each rule with its figure, who noticed, what was offered; rates and latencies of all, of
    each cell and of each class; the generator's own state, Locust's statistics, the conditions.
    """
    passed = document["passed"]
    facts = run.facts
    parts = [
        f"<h1>{escape(facts.shape)}: <span class={'kept' if passed else 'broken'}>"
        f"{'passed' if passed else 'failed'}</span></h1>",
        f"<p>Run {escape(facts.run)}, seed {facts.seed}, {facts.lasting_s:.0f} s, {facts.base_per_s:g} requests a "
        f"second at factor 1, of {sum(facts.customers.values())} customers ("
        + ", ".join(f"{count} {escape(name)}" for name, count in facts.customers.items())
        + f"); everybody talks about {escape(facts.meme)}. Latency counts from when a request was due.</p>",
        "<h2>Verdict</h2>",
        _table(
            ("", "measured", "limit", ""),
            [
                (rule.about, rule.measured, rule.limit or "stated", "right" if rule.is_kept else "WRONG")
                for rule in run.rules
            ],
        ),
        "<h2>Who noticed</h2>",
        _table(("who", "what"), [(each["who"], each["what"]) for each in document["noticed"]])
        if document["noticed"]
        else "<p>Nobody: no group's p99 rose to three times that of the first phase, nothing was shed or broke.</p>",
        "<h2>Offered and answered</h2>",
        _table(
            ("phase", "planned per s", "sent per s"),
            [(row["phase"], row["planned_per_s"], row["per_s"]) for row in document["offered"]],
        ),
        _rates(run.measured, "all customers", lambda _: True),
        _latencies(run.measured, "orders of all customers", is_order),
    ]
    for kind, names, of in (("cell", run.measured.cells, of_cell), ("class", run.measured.classes, of_class)):
        parts.append(f"<h2>By {kind}</h2>")
        for name in names:
            parts.append(f"<h3>{escape(name)}</h3>")
            parts.append(_figures_table(document["requests"][f"{kind} {name}"]))
            parts.append(_rates(run.measured, name, of(name)))
            parts.append(_latencies(run.measured, f"{name}, all requests", of(name)))
            if any(row["requests"] for row in document["orders"][f"{kind} {name}"]):
                parts.append(_latencies(run.measured, f"{name}, orders", every(is_order, of(name))))
    parts += [
        "<h2>The generator</h2>",
        _table(
            (
                "process",
                "cores",
                "loop late p50, p99, max ms",
                "left late p50, p99 ms",
                "of a core, busiest 5 s",
                "sent",
            ),
            [
                (
                    each.process,
                    each.cores,
                    f"{each.lag_p50_ms:.1f}, {each.lag_p99_ms:.1f}, {each.lag_max_ms:.0f}",
                    f"{each.late_p50_ms:.1f}, {each.late_p99_ms:.1f}",
                    f"{each.cpu_share:.0%}, {each.busiest_share:.0%}",
                    f"{each.sent:,}",
                )
                for each in run.generators
            ],
        ),
        "<h2>Beside it: Locust's own statistics, from when a request left</h2>",
        _table(
            ("request", "count", "failures", "p50, p95, p99 ms"),
            [
                (name, row["requests"], row["failures"], f"{row['p50_ms']}, {row['p95_ms']}, {row['p99_ms']}")
                for name, row in run.locust.items()
            ],
        ),
        "<h2>Conditions</h2>",
        _table(("", ""), list(run.conditions.items())),
    ]
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(facts.shape)}</title>{_STYLE}<body>" + (
        "\n".join(parts) + "</body></html>\n"
    )


def _figures_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("phase", "requests", "per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms", "rejected", "shed", "broken")
    return _table([name.replace("_", " ") for name in names], [[row[name] for name in names] for row in rows])


def _rates(measured: Measured, title: str, is_wanted: Any) -> str:
    points = measured.over_time(is_wanted)
    wanted = {"done": [Outcome.DONE], "rejected": [Outcome.REJECTED], "shed": [Outcome.SHED]}
    wanted["broken"] = [Outcome.ERROR, Outcome.UNKNOWN]
    series = [
        Series(name, tuple(sum(point.outcomes[each] for each in of) / measured.interval_s for point in points))
        for name, of in wanted.items()
    ]
    return plot(title, "requests per second", measured.interval_s, series, measured.spans)


def _latencies(measured: Measured, title: str, is_wanted: Any) -> str:
    points = measured.over_time(is_wanted)
    series = [
        Series(
            f"p{percent}",
            tuple(point.done.percentile_us(percent) / 1000 if point.done.count else None for point in points),
        )
        for percent in (50, 95, 99)
    ]
    return plot(title, "ms", measured.interval_s, series, measured.spans, limit=ORDER_P95_MS_MAX)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def cells(tag: str, values: Sequence[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(_text(value))}</{tag}>" for value in values) + "</tr>"

    return f"<table>{cells('th', head)}{''.join(cells('td', row) for row in rows)}</table>"


def _text(value: object) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


_STYLE: Final = """<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #1f2328; }
table { border-collapse: collapse; margin: .5em 0 1em; } td, th { padding: .2em .8em; text-align: left; }
tr:nth-child(even) { background: #f6f8fa; } th { border-bottom: 1px solid #d0d7de; }
.kept { color: #1a7f37; } .broken { color: #d1242f; } .plot { max-width: 640px; display: block; }
.plot text { font: 11px system-ui, sans-serif; fill: #57606a; } .plot .title { fill: #1f2328; font-weight: 600; }
.plot .scale { text-anchor: end; } .plot .phase { text-anchor: middle; } .plot .grid { stroke: #eaeef2; }
.plot .band { fill: #f6f8fa; } .plot .limit { stroke: #d1242f; stroke-dasharray: 4 3; }
</style>"""
