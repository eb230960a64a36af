"""How a replay is shown, to people or as JSON: what the tape held, what was played, sums per cell, every difference."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from loadtests.figures import dollars, shares
from loadtests.quantiles import percentile
from loadtests.replay.reconcile import CellSums
from loadtests.replay.state import ReplayReport

DIFFERENCES_SHOWN = 50
"""In the report; the count says how many there are."""


def report_document(report: ReplayReport) -> dict[str, Any]:
    orders = report.plan.orders
    return {
        "equal": not report.differences,
        "messages": str(report.request.messages),
        "symbol": report.request.symbol,
        "run": report.request.run,
        "customers": len(report.plan.customers),
        "speed": report.request.speed,
        "tape": {
            "counted": report.plan.counted,
            "orders": len(orders),
            "fills": sum(len(order.fills) for order in orders),
            "filled": sum(order.filled for order in orders),
            "cost_micros": sum(order.cost_micros for order in orders),
            "cancelled": sum(1 for order in orders if order.cancelled_at_line is not None),
            "replaced": sum(len(order.reductions) for order in orders),
            "left_open": sum(1 for order in orders if order.expected_open),
        },
        "platform": {
            "placed": report.placed,
            "cancels": report.cancels,
            "replaces": report.replaces,
            "fills": report.fills,
            "filled": shares(report.filled).replace(",", ""),
            "cost_micros": report.cost_micros,
            "playing_s": round(report.playing_s, 3),
            "settling_s": round(report.settling_s, 3),
            "place_p50_ms": round(percentile(report.place_ms, 0.50), 3),
            "place_p99_ms": round(percentile(report.place_ms, 0.99), 3),
        },
        "cells": {cell: asdict(sums) for cell, sums in report.cells.items()},
        "checks": report.checks,
        "notes": report.notes,
        "differences": report.differences,
    }


def print_report(report: ReplayReport, console: Console) -> None:
    document = report_document(report)
    tape, platform = document["tape"], document["platform"]
    console.print(
        f"\n[bold]{report.request.messages}[/] as {report.request.symbol}, run {report.request.run}, "
        f"{document['customers']} customers, through {report.router_url}"
    )
    console.print("tape rows: " + ", ".join(f"{count:,} {what}" for what, count in report.plan.counted.items()))
    table = Table()
    for column, justify in (("", "left"), ("tape", "right"), ("platform", "right")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    table.add_row("orders", f"{tape['orders']:,}", f"{platform['placed']:,}")
    table.add_row("cancels", f"{tape['cancelled']:,}", f"{platform['cancels']:,}")
    table.add_row("replacements", f"{tape['replaced']:,}", f"{platform['replaces']:,}")
    table.add_row("fills", f"{tape['fills']:,}", f"{platform['fills']:,}")
    table.add_row("shares filled", f"{tape['filled']:,}", shares(report.filled))
    table.add_row("cost of fills, $", dollars(tape["cost_micros"]), dollars(report.cost_micros))
    console.print(table)
    console.print(_cells_table(report.cells))
    console.print(
        f"played in {report.playing_s:.1f} s, settled after {report.settling_s:.1f} s more; "
        f"order latency p50 {platform['place_p50_ms']:.1f} ms, p99 {platform['place_p99_ms']:.1f} ms"
    )
    for cell, answer in report.checks.items():
        _print_checks(cell, answer, console)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)
    if not report.differences:
        console.print("[bold green]Equal:[/] every order, customer and cell is where the tape says.")
        return
    console.print(f"[bold red]{len(report.differences)} differences:[/]")
    for difference in report.differences[:DIFFERENCES_SHOWN]:
        console.print(f"  - {difference}", markup=False, highlight=False)
    if len(report.differences) > DIFFERENCES_SHOWN:
        console.print(f"  ... and {len(report.differences) - DIFFERENCES_SHOWN} more (--json has them all)")


def _cells_table(cells: Mapping[str, CellSums]) -> Table:
    table = Table(title="what each cell grew by", box=SIMPLE)
    for column in ("cell", "users", "orders", "fills", "cash, $", "held, $", "shares", "held"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    for cell, sums in cells.items():
        table.add_row(
            cell,
            f"{sums.users:,}",
            f"{sums.orders:,}",
            f"{sums.executions:,}",
            dollars(sums.cash_micros),
            dollars(sums.cash_held_micros),
            shares(sums.qty_micros),
            shares(sums.qty_held_micros),
        )
    return table


def _print_checks(cell: str, answer: Mapping[str, Any], console: Console) -> None:
    checks = answer.get("checks", [])
    green = sum(1 for check in checks if not check.get("violations"))
    colour = "green" if checks and green == len(checks) else "red"
    console.print(f"{cell}: [{colour}]{green} of {len(checks)} ledger checks green[/]")
