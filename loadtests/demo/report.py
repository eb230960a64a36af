"""How the demo's report is printed: one table over the cells, the proofs, the faults, and what to try next."""

import os
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.demo.move import MoveReport
from loadtests.demo.run import DemoReport
from loadtests.figures import dollars, shares
from loadtests.quantiles import percentile

NEXT_COMMANDS = (
    ("SHARDCTL status", "every process, its port and memory"),
    ("SHARDCTL cells list", "the cells and how many users each holds"),
    ("SHARDCTL cells check cell-1", "prove the books of one cell again"),
    ("SHARDCTL events tail --cell cell-1", "what the cell publishes to Kafka, live"),
    ("SHARDCTL users move USER --to cell-2 --reason WHY", "move somebody to another cell while they trade"),
    ("SHARDCTL cells add --reason WHY", "a third cell joins and gets new customers; nobody moves"),
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


def print_demo(report: DemoReport, console: Console) -> None:
    console.print()
    console.print(_cells_table(report))
    console.print(
        f"\n{report.trading_s:.1f} s of trading: "
        + ", ".join(f"{count:,} {what}" for what, count in sorted(report.counted.items())),
    )
    if report.retried:
        console.print(
            "sent again, with the same key: " + ", ".join(f"{n} x {why}" for why, n in report.retried.items())
        )
    console.print(_proofs_table(report))
    if report.move is not None and not report.move.faults:
        console.print(_move_table(report.move))
    shardctl = shardctl_as_typed()
    if report.faults:
        console.print("\n[bold red]Not right:[/]")
        for fault in report.faults:
            console.print(f"  - {fault}", markup=False, highlight=False)
        if report.faults_more:
            console.print(f"  ... and {report.faults_more} more")
        console.print(f"Look closer: {shardctl} doctor; {shardctl} status; {shardctl} logs NAME")
        return
    console.print("\n[bold green]The books balance.[/] Try next:")
    for command, why in NEXT_COMMANDS:
        console.print(f"  {command.replace('SHARDCTL', shardctl):<46} [dim]{why}[/]", highlight=False, soft_wrap=True)


def _cells_table(report: DemoReport) -> Table:
    """A column per cell: this run's customers and orders, then the cell's own counts, money and latency after it.

    A cell that did not answer at the end has zeros here and red proofs. A status has a line if any cell has an order in
    it, so all cells have the same lines.
    """
    table = Table(
        title=f"{report.size.customers} new customers over {len(report.cells)} cells, through {report.router_url}"
    )
    table.add_column("")
    for name in report.cells:
        table.add_column(name, justify="right")
    cells = list(report.cells.values())
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


def _proofs_table(report: DemoReport) -> Table:
    """A line per ledger check, then the event streams; what is not right is red.

    A check that a cell did not run, because it has another release, is red there: it proves nothing. Events are counted
    on both sides while the cell rests: equal and known is green, anything else, not asked included, is red.
    """
    table = Table(title="proofs")
    table.add_column("")
    cells = list(report.cells.values())
    for cell in cells:
        table.add_column(cell.cell, justify="right")
    found = [
        {str(check["name"]): int(check["violations"]) for check in cell.checks.get("checks", ())} for cell in cells
    ]
    for name in sorted({name for each in found for name in each}):
        table.add_row(name.replace("_", " "), *(_verdict(each.get(name)) for each in found))
    for stream, in_database in (("order_events", "order_events"), ("ledger_events", "journal_entries")):
        figures = []
        for cell in cells:
            kafka = cell.events.get("kafka", {}).get(stream)
            database = cell.events.get("database", {}).get(in_database)
            colour, sign = ("green", "=") if kafka == database and kafka is not None else ("red", "/")
            figures.append(f"[{colour}]{kafka} {sign} {database}[/]")
        table.add_row(f"{stream.replace('_', ' ')} in Kafka = database", *figures)
    return table


def _move_table(move: MoveReport) -> Table:
    """The customer who moved: where, for how long they waited, what was proven, and their next order."""
    table = Table(title="one customer moved to another cell while they read and retried")
    table.add_column("")
    table.add_column(move.user_id)
    tables = move.receipt["copied"]["tables"]
    pause = "not known" if move.pause_ms is None else f"{move.pause_ms:.1f} ms"
    rows = [
        ("cell", f"{move.was_in} -> [green]{move.is_in}[/]"),
        ("orders placed before", f"{move.orders}"),
        ("their writes waited for", pause),
        ("requests meanwhile, all answered", f"{move.requests_meanwhile:,}"),
        ("rows attested by both cells", f"{sum(each['rows'] for each in tables.values()):,} in {len(tables)} tables"),
        ("receipt", f"operation {move.receipt['operation_id']}, ownership epoch {move.receipt['ownership_epoch']}"),
        ("checks of the customer in the new cell", _verdict(move.checks_found)),
        ("next order", f"{move.next_order} by {move.next_order_cell}"),
    ]
    for label, value in rows:
        table.add_row(label, value)
    return table


def _verdict(violations: int | None) -> str:
    if violations is None:
        return "[red]not run[/]"
    return "[green]ok[/]" if violations == 0 else f"[red]{violations} violations[/]"
