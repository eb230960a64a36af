"""The report as one HTML file with its plots inside. Pure; it loads nothing from anywhere.

Nobody who reads the page was there: so it says what was rehearsed, at which rates, by which customers, on which
machine, how the generator fared, and what each word means. Every figure in it is in the JSON document, too.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from loadtests.load.measured import Measured, every, is_order, of_cell, of_class
from loadtests.load.outcomes import Outcome
from loadtests.load.plots import Series, plot
from loadtests.load.report import NOTICED_MS, NOTICED_RATIO, Run
from loadtests.load.rule import Rule
from loadtests.load.verdict import ORDER_P95_MS_MAX


def page_of(run: Run, document: Mapping[str, Any]) -> str:
    """The whole page."""
    groups = (("cell", run.measured.cells, of_cell), ("class", run.measured.classes, of_class))
    parts = [
        *_opening(run, passed=bool(document["passed"])),
        "<h2>Verdict</h2>",
        _verdict(run.rules),
        "<h2>Who noticed</h2>",
        _noticed(document, run.measured),
        "<h2>Planned and sent</h2>",
        "<p>All customers were there, logged in and idle, before the first request; each then acts at moments that "
        "were drawn beforehand and that no answer delays. Seven times is seven times only if what was sent is what was "
        "planned.</p>",
        _offered(document),
        _rates(run.measured, "all requests", lambda _: True),
        _latencies(run.measured, "orders", is_order),
    ]
    for kind, names, of in groups:
        parts.append(f"<h2>By {kind}</h2>")
        for name in names:
            parts += [f"<h3>{escape(name)}</h3>", _figures_table(document["requests"][f"{kind} {name}"])]
            parts += [_rates(run.measured, name, of(name)), _latencies(run.measured, f"{name}, all requests", of(name))]
            if any(row["requests"] for row in document["orders"][f"{kind} {name}"]):
                parts.append(_latencies(run.measured, f"{name}, orders", every(is_order, of(name))))
    parts += [*_generator(run), *_locust(run), "<h2>Conditions</h2>", _table(("", ""), list(run.conditions.items()))]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.facts.shape)}: {'passed' if document['passed'] else 'failed'}</title>{_STYLE}<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _opening(run: Run, *, passed: bool) -> list[str]:
    facts = run.facts
    shape = facts.traffic().shape
    customers = ", ".join(f"{count} {escape(name)}" for name, count in facts.customers.items())
    cap = (
        f"Each cell is to get {facts.admission_rate:g} orders a second; what comes beyond is refused at once."
        if facts.admission_rate
        else "No rate of orders is stated: the cells get what comes."
    )
    kept = sum(rule.is_kept for rule in run.rules if rule.limit)
    asked = sum(1 for rule in run.rules if rule.limit)
    return [
        f"<h1>{escape(facts.shape)}: <span class={'kept' if passed else 'broken'}>"
        f"{'passed' if passed else 'failed'}</span></h1>",
        f"<p>A rehearsal of {facts.lasting_s:.0f} s: {sum(facts.customers.values())} customers ({customers}) trade "
        f"over {len(run.measured.cells)} cells, at first {facts.base_per_s * shape.factor_at(0):g} requests a second, "
        f"at most {facts.base_per_s * shape.factor_max:g}; {escape(facts.meme)} is what everybody talks about. {cap} "
        f"{kept} of {asked} rules were kept. Run {escape(facts.run)}, seed {facts.seed}.</p>",
        "<p class=words><b>Latency</b> counts from when a customer wanted to act, not from when the request left. "
        "<b>Done</b>: carried out. <b>Rejected</b>: refused by a rule (too little money, an order that is no longer "
        "open). <b>Shed</b>: 503 with Retry-After, nothing was done, the platform had enough to do. <b>Limited</b>: "
        "429, this customer asked too often. <b>Broke</b>: anything else. <b>p99</b>: 99 of 100 were as fast or "
        "faster. In the plots phases are bands, and the dashed line is the bar for 95 of 100 orders.</p>",
    ]


def _verdict(rules: Sequence[Rule]) -> str:
    rows = []
    for rule in rules:
        word, css = ("stated", "") if not rule.limit else ("pass", "kept") if rule.is_kept else ("FAIL", "broken")
        rows.append(
            f"<tr><td class='{css}'>{word}</td><td>{escape(rule.about)}</td><td>{escape(rule.measured)}</td>"
            f"<td>{escape(rule.limit)}</td></tr>"
        )
    return _scrolled("<tr><th></th><th>rule</th><th>measured</th><th>bar</th></tr>" + "".join(rows))


def _noticed(document: Mapping[str, Any], measured: Measured) -> str:
    """A row for each group of customers, a column for each phase; what they could tell is marked."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in document["noticed"]:
        found.setdefault((each["who"], each["phase"]), []).append(each["what"])
    rows = []
    for who in (name for name in document["requests"] if name != "all"):
        cells = "".join(
            f"<td class=noticed>{escape('; '.join(told))}</td>" if (told := found.get((who, phase))) else "<td>-</td>"
            for phase, _, _ in measured.spans
        )
        _, _, name = who.partition(" ")  # after its kind
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    said = (
        f"Marked: something broke, was shed or limited, or p99 of what was done rose above {NOTICED_RATIO:g} times the "
        f"first phase's and {NOTICED_MS:g} ms."
    )
    if not found:
        return f"<p>Nobody. {said}</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name, _, _ in measured.spans)
    return f"<p>{said}</p>" + _scrolled(f"<tr><th></th>{head}</tr>{''.join(rows)}")


def _offered(document: Mapping[str, Any]) -> str:
    return _table(
        ("phase", "seconds", "planned a second", "times", "sent a second", "times"),
        [
            (
                row["phase"],
                f"{row['seconds']:g}",
                row["planned_per_s"],
                f"{row['planned_times']:.2f}",
                row["per_s"],
                f"{row['times']:.2f}",
            )
            for row in document["offered"]
        ],
    )


def _generator(run: Run) -> list[str]:
    return [
        "<h2>The generator</h2>",
        "<p>What made the load, on the cores named here. Had it been late itself (5 ms at the median, 100 ms at p99), "
        "or taken 90 % of a core, the run would have been thrown away.</p>",
        _table(
            (
                "process",
                "cores",
                "niceness",
                "loop late p50, p99, max ms",
                "left late p50, p99 ms",
                "of a core",
                "busiest 5 s",
                "sent",
            ),
            [
                (
                    each.process,
                    ", ".join(map(str, each.cores)) or "any",
                    each.niceness,
                    f"{each.lag_p50_ms:.1f}, {each.lag_p99_ms:.1f}, {each.lag_max_ms:.0f}",
                    f"{each.late_p50_ms:.1f}, {each.late_p99_ms:.1f}",
                    f"{each.cpu_share:.0%}",
                    f"{each.busiest_share:.0%}",
                    f"{each.sent:,}",
                )
                for each in run.generators
            ],
        ),
    ]


def _locust(run: Run) -> list[str]:
    return [
        "<h2>Beside it: Locust's own statistics</h2>",
        "<p>From when a request left; a customer who had to wait for their last request is not in them. What was shed "
        "counts as a failure here.</p>",
        _table(
            ("request", "count", "failures", "p50, p95, p99 ms"),
            [
                (
                    name.rpartition("|")[0] or name,
                    f"{row['requests']:,}",
                    f"{row['failures']:,}",
                    f"{row['p50_ms']:.0f}, {row['p95_ms']:.0f}, {row['p99_ms']:.0f}",
                )
                for name, row in run.locust.items()
            ],
        ),
    ]


def _figures_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = (
        "phase", "requests", "per_s", "done_per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms",
        "rejected", "limited", "shed", "shed_p99_ms", "broken",
    )  # fmt: skip
    return _table([name.replace("_", " ") for name in names], [[row[name] for name in names] for row in rows])


def _rates(measured: Measured, title: str, is_wanted: Any) -> str:
    points = measured.over_time(is_wanted)
    wanted = {
        "done": [Outcome.DONE],
        "broken": [Outcome.ERROR, Outcome.UNKNOWN],
        "rejected": [Outcome.REJECTED, Outcome.LIMITED],
        "shed": [Outcome.SHED],
    }
    series = [
        Series(name, tuple(sum(point.outcomes[each] for each in of) / measured.interval_s for point in points))
        for name, of in wanted.items()
    ]
    return _in_frame(plot(title, "a second", measured.interval_s, series, measured.spans))


def _latencies(measured: Measured, title: str, is_wanted: Any) -> str:
    points = measured.over_time(is_wanted)
    series = [
        Series(
            f"p{percent}",
            tuple(point.done.percentile_us(percent) / 1000 if point.done.count else None for point in points),
        )
        for percent in (50, 95, 99)
    ]
    return _in_frame(plot(title, "ms", measured.interval_s, series, measured.spans, limit=ORDER_P95_MS_MAX))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def cells(tag: str, values: Sequence[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(_text(value))}</{tag}>" for value in values) + "</tr>"

    return _scrolled(f"{cells('th', head)}{''.join(cells('td', row) for row in rows)}")


def _scrolled(rows: str) -> str:
    return _in_frame(f"<table>{rows}</table>")


def _in_frame(what: str) -> str:
    """What is too wide for a phone scrolls by itself, and the page does not."""
    return f"<div class=scrolled>{what}</div>"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


_STYLE: Final = """<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em; color: #1f2328; }
table { border-collapse: collapse; margin: .5em 0 1em; } td, th { padding: .2em .6em; text-align: left; }
tr:nth-child(even) { background: #f6f8fa; } th { border-bottom: 1px solid #d0d7de; }
.scrolled { overflow-x: auto; } th { white-space: nowrap; } td, th { vertical-align: top; }
.words { color: #57606a; } .noticed { background: #fff1e5; min-width: 9em; }
.kept { color: #1a7f37; } .broken { color: #d1242f; font-weight: 600; }
.plot { width: 640px; display: block; }
.plot text { font: 11px system-ui, sans-serif; fill: #57606a; } .plot .title { fill: #1f2328; font-weight: 600; }
.plot .scale { text-anchor: end; } .plot .phase { text-anchor: middle; } .plot .grid { stroke: #eaeef2; }
.plot .band { fill: #f6f8fa; } .plot .limit { stroke: #d1242f; stroke-dasharray: 4 3; }
</style>"""
