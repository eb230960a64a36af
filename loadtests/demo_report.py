"""How the demo's story is told: one table over the cells, the proofs, the faults, and what to try next."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtests.demo import CellStory, DemoStory
from loadtests.figures import dollars, percentile, shares

NEXT_COMMANDS = (
    ("SHARDCTL status", "every process, its port and memory"),
    ("SHARDCTL cells list", "the cells and how many users each holds"),
    ("SHARDCTL cells check cell-1", "prove the books of one cell again"),
    ("SHARDCTL events tail --cell cell-1", "what the cell publishes to Kafka, live"),
    ("SHARDCTL cells add", "a third cell joins and gets new customers; nobody moves"),
    ('eval "$(SHARDCTL status -o env)"', "addresses as shell variables; then:"),
    ('psql "$CELL_1_DSN"', "a cell's books, read only"),
    ('curl "$ROUTER_URL/openapi.json"', "the customers' interface"),
    ("SHARDCTL down", "stop everything, keep the data"),
)


def shardctl_as_typed() -> str:
    """How the operators' command is called here: by name if it is on PATH, else by the path beside this Python."""
    if shutil.which("shardctl"):
        return "shardctl"
    beside = Path(sys.executable).parent / "shardctl"
    return os.path.relpath(beside) if Path.cwd() in beside.parents else str(beside)


def print_story(story: DemoStory, console: Console) -> None:
    console.print()
    console.print(_cells_table(story))
    console.print(
        f"{story.trading_s:.1f} s of trading: "
        + ", ".join(f"{count:,} {what}" for what, count in sorted(story.counted.items())),
    )
    if story.retried:
        console.print("sent again, with the same key: " + ", ".join(f"{n} x {why}" for why, n in story.retried.items()))
    for cell in story.cells.values():
        _print_proofs(cell, console)
    shardctl = shardctl_as_typed()
    if story.faults:
        console.print("\n[bold red]Not right:[/]")
        for fault in story.faults:
            console.print(f"  - {fault}", markup=False, highlight=False)
        if story.faults_more:
            console.print(f"  ... and {story.faults_more} more")
        console.print(f"Look closer: {shardctl} doctor; {shardctl} status; {shardctl} logs NAME")
        return
    console.print("\n[bold green]The books balance.[/] Try next:")
    for command, why in NEXT_COMMANDS:
        console.print(f"  {command.replace('SHARDCTL', shardctl):<42} [dim]{why}[/]", highlight=False)


def _cells_table(story: DemoStory) -> Table:
    table = Table(
        title=f"{story.size.customers} new customers over {len(story.cells)} cells, through {story.router_url}"
    )
    table.add_column("")
    for name in story.cells:
        table.add_column(name, justify="right")
    cells = list(story.cells.values())
    statuses = sorted({status for cell in cells for status in cell.after.get("orders_by_status", {})})
    rows: list[tuple[str, list[str]]] = [
        ("customers (this run / all)", [f"{cell.customers:,} / {cell.after.get('users', 0):,}" for cell in cells]),
        ("orders of this run", [f"{cell.accepted:,}" for cell in cells]),
    ]
    rows += [
        (f"  all orders {status}", [f"{cell.after.get('orders_by_status', {}).get(status, 0):,}" for cell in cells])
        for status in statuses
    ]
    rows += [
        ("fills", [f"{cell.after.get('executions', 0):,}" for cell in cells]),
        ("cash, $", [dollars(cell.after.get("cash_micros", 0)) for cell in cells]),
        ("  of it held for open orders, $", [dollars(cell.after.get("cash_held_micros", 0)) for cell in cells]),
        ("shares, all symbols", [shares(sum(cell.after.get("shares", {}).values())) for cell in cells]),
        ("order latency p50, ms", [f"{percentile(cell.latencies_ms, 0.50):.1f}" for cell in cells]),
        ("order latency p99, ms", [f"{percentile(cell.latencies_ms, 0.99):.1f}" for cell in cells]),
    ]
    for label, figures in rows:
        table.add_row(label, *figures)
    return table


def _print_proofs(cell: CellStory, console: Console) -> None:
    checks = cell.checks.get("checks", [])
    green = sum(1 for check in checks if not check.get("violations"))
    colour = "green" if checks and green == len(checks) else "red"
    console.print(f"{cell.cell}: [{colour}]{green} of {len(checks)} ledger checks green[/]: {_names(checks)}")
    equal = bool(cell.events.get("equal"))
    words = "equal" if equal else "NOT equal"
    console.print(
        f"{cell.cell}: events in Kafka and in the database are [{'green' if equal else 'red'}]{words}[/]: "
        f"{_streams(cell.events.get('kafka'))}"
    )


def _names(checks: list[dict[str, Any]]) -> str:
    return ", ".join(str(check["name"]) for check in checks)


def _streams(counts: Mapping[str, int] | None) -> str:
    if not counts:
        return "not counted"
    return ", ".join(f"{count:,} {stream.replace('_', ' ')}" for stream, count in counts.items())
