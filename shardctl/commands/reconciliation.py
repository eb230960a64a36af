"""`shardctl cells reconcile` and `reconciliations`: compare a cell with venue and Kafka, and show the kept results."""

import asyncio
from typing import Annotated, Any

import typer

from shardctl.errors import NotReachable, Refused, UsageError
from shardctl.output import print_json, print_line, print_table
from shardctl.progress import shown_progress
from shardctl.reconciliation.run import list_reconciliations, reconcile
from shardctl.stack.current import open_stack

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SAMPLE_SHOWN = 5
"""Differences of each kind on the screen; `--json` has them all."""


def reconcile_(
    cell: Annotated[str | None, typer.Argument(help="Name of a cell, as cell-1.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every cell, one after the other.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a cell's books, compare them with the venue and Kafka, keep the result. Exit code 1: a difference."""
    backend = open_stack()
    known = [spec.name for spec in backend.spec().cells]
    if every == (cell is not None):
        raise UsageError("name one cell, or give --all")
    runs = {}
    with shown_progress("reconciling", quiet=as_json):
        for name in known if cell is None else [cell]:
            runs[name] = asyncio.run(reconcile(backend, name))
    if as_json:
        print_json(next(iter(runs.values())) if cell else [{"cell": name, **run} for name, run in runs.items()])
    else:
        for name, run in runs.items():
            _show(name, run)
    _judge(runs)


def reconciliations(
    cell: Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many of the last runs.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The last reconciliations of a cell, newest first; --json has their checks, totals and samples."""
    runs = asyncio.run(list_reconciliations(open_stack(), cell, limit))
    if as_json:
        print_json(runs)
        return
    rows = [
        (
            run["run_id"],
            run["ended_at"],
            run["actor"],
            run["verdict"],
            ", ".join(run["found"]),
            run["venue"]["compared"],
        )
        for run in runs
    ]
    print_table(("run", "ended", "by", "verdict", "found", "orders>"), rows)


def _show(cell: str, run: dict[str, Any]) -> None:
    venue, events = run["venue"], run["events"]
    print_line(f"{cell}: {run['verdict']}  run {run['run_id']}", style="bold")
    compared = f"{venue['compared']} orders, {venue['differences']} differ" if venue["asked"] else venue["reason"]
    counted = _event_counts(events) if events["asked"] else events["reason"]
    print_table(("", ""), [("checks", f"{len(run['checks'])} ran"), ("venue", compared), ("events in Kafka", counted)])
    for check in run["checks"]:
        if check["violations"]:
            _show_sample(f"{check['name']}: {check['violations']} rows", check["sample"])
    if venue["differences"]:
        _show_sample(f"venue: {venue['differences']} orders", venue["sample"])
    if events.get("differences"):
        _show_sample(f"events: {events['differences']} differ", events["sample"])
    print_table(
        ("account", "unit", "debits>", "credits>"),
        [
            (total["account"], total["unit"], _amount(total["debit_micros"]), _amount(total["credit_micros"]))
            for total in run["totals"]
        ],
    )


def _event_counts(events: dict[str, Any]) -> str:
    words = [f"{events['missing']} missing"]
    named = (("unknown", "never written"), ("broken_links", "out of the chain"), ("malformed", "no events"))
    words += [f"{events[name]} {meaning}" for name, meaning in named if events.get(name)]
    return ", ".join(words)


def _show_sample(title: str, rows: list[dict[str, Any]]) -> None:
    print_line(title, style="bold red")
    for row in rows[:_SAMPLE_SHOWN]:
        fields = ", ".join(f"{name} {value}" for name, value in row.items() if value is not None)
        print_line(f"  {fields}")


def _amount(micros: int) -> str:
    return f"{micros // 1_000_000:,}.{micros % 1_000_000:06}"


def _judge(runs: dict[str, dict[str, Any]]) -> None:
    """One exit code for all cells: a difference (1) comes before a side that could not be asked (3).

    Raises Refused or NotReachable, with the next command.
    """
    different = [(name, run["found"]) for name, run in runs.items() if run["verdict"] == "different"]
    if different:
        name, found = different[0]
        what = "; ".join(f"{cell}: {', '.join(names)}" for cell, names in different)
        raise Refused(f"{what}: look at `shardctl cells reconciliations {name} -n 1 --json`{_next_step(name, found)}")
    incomplete = [name for name, run in runs.items() if run["verdict"] == "incomplete"]
    if incomplete:
        raise NotReachable(
            f"{', '.join(incomplete)}: not everything could be asked: look at `shardctl status`, then run it again"
        )


def _next_step(cell: str, found: list[str]) -> str:
    if found == ["venue"]:
        return f", `shardctl cells quarantine {cell}`"
    if found == ["events"]:
        return f", `shardctl events count --cell {cell}`"
    return f", `shardctl cells check {cell} --json`"


def register(app: typer.Typer) -> None:
    """Verbs of `shardctl cells`."""
    app.command("reconcile")(reconcile_)
    app.command()(reconciliations)
