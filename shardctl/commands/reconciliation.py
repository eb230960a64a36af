"""`shardctl cells reconcile` and `reconciliations`: compare a cell with venue and Kafka, and show the kept results."""

import asyncio
from typing import Annotated, Any

import typer

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import (
    Detach,
    DryRun,
    Expected,
    Key,
    Reason,
    SubmitOptions,
    Timeout,
    conclude,
    submit_and_watch,
)
from shardctl.errors import UsageError
from shardctl.output import print_json, print_line, print_table
from shardctl.reconciliation.kept import list_reconciliations
from shardctl.stack.current import open_stack

_SAMPLE_SHOWN = 5
"""Differences of each kind on the screen; `--json` has them all."""
_RUNS_SEARCHED = 100
"""Further runs of the same cell that may have been made since."""


def reconcile_(
    cell: Annotated[str | None, typer.Argument(help="Name of a cell, as cell-1.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every cell, one after the other.")] = False,
    reason: Reason = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    timeout: Timeout = None,
    key: Key = None,
    expected: Expected = None,
) -> None:
    """Check a cell's books, compare them with the venue and Kafka, keep the result. Exit code 1: a difference."""
    if every == (cell is not None):
        raise UsageError("name one cell, or give --all")
    open_stack()  # its cells are asked for the result: somewhere else it could not be shown
    options = SubmitOptions(reason, dry_run, not detach, timeout, key, expected, as_json)
    ended = submit_and_watch("cells.reconcile", {"cell": cell}, options)
    if ended is None:
        return
    runs = asyncio.run(_read_runs([step["result"] for step in ended["steps"] if step["result"]]))
    if as_json:
        print_json(next(iter(runs.values()), None) if cell else [{"cell": name, **run} for name, run in runs.items()])
    else:
        for name, run in runs.items():
            _show(name, run)
    conclude(ended)


async def _read_runs(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By cell: the runs that an operation made, whole, as their cells keep them."""
    found = {}
    for result in results:
        kept = await list_reconciliations(open_stack(), result["cell"], _RUNS_SEARCHED)
        found[result["cell"]] = next(run for run in kept if run["run_id"] == result["run_id"])
    return found


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
