"""Accepted limit orders per second: through router and cell, directly to the cell, and by pgbench as the peer.

One cell, everything on this machine, in the same run and on the same database; each round measures all three in
turn, and waits for empty queues between them, so that no one pays for another's backlog. What is accepted is
counted twice: by the client (201) and by the database (orders more than before); a run in which they differ is
refused.

Then the latency at half of the rate through the router: an open loop, in which a slow answer does not defer the
next request, and a request that has to wait for a connection counts from the moment when it was due.
"""

from pathlib import Path
from typing import Any

from loadtests.measurement.closed_loop import drive
from loadtests.measurement.conditions import conditions
from loadtests.measurement.load_result import LoadResult, checked, latency_figures
from loadtests.measurement.open_loop import drive_paced
from loadtests.measurement.pgbench import database_of, pgbench_version, run_pgbench
from loadtests.measurement.queries import newest_code
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.measurement.stack_customers import Bench, open_bench
from loadtests.measurement.stack_queues import orders_in, until_quiet
from loadtests.measurement.stack_requests import through_router, to_cell
from loadtests.measurement.state_folder import state_folder
from loadtests.operator_view import OperatorView
from loadtests.quantiles import medians

WARM_UP_S = 2.0
"""Connections, plans and caches are warm after some hundred calls."""


async def measure(
    router_url: str,
    view: OperatorView,
    say: Say,
    *,
    cell: str,
    connections: int,
    customers: int,
    seconds: int,
    rounds: int,
) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused."""
    where = conditions()
    customers = max(customers // connections, 1) * connections
    say(f"signing up {customers} customers of {cell}")
    bench = await open_bench(router_url, view, cell=cell, customers=customers)
    environment = await view.environment()
    dsn = environment[f"{cell.upper().replace('-', '_')}_DSN"]
    database = database_of(dsn, await state_folder(view) / "secrets" / "pgpass", await newest_code(dsn))
    where["pgbench"] = await pgbench_version()
    # Processes that have just started are slower: caches, prepared statements, autovacuum of young tables.
    await drive(
        router_url, through_router(bench, -1, connections), connections=connections, seconds=WARM_UP_S, wanted=201
    )
    measured: list[dict[str, float]] = []
    for number in range(rounds):
        figures: dict[str, float] = {}
        for name, url, request_of in (
            ("router", router_url, through_router(bench, number, connections)),
            ("cell", bench.cell_url, to_cell(bench, number, connections)),
        ):
            await until_quiet(view, cell)
            before = await orders_in(view, cell)
            result = await drive(url, request_of, connections=connections, seconds=seconds, wanted=201)
            await check(result, before, view, cell)
            figures |= latency_figures(name, result)
        await until_quiet(view, cell)
        figures |= await run_pgbench(bench, database, seconds=seconds)
        figures["router_to_pgbench"] = round(figures["router_per_s"] / figures["pgbench_per_s"], 4)
        figures["cell_to_pgbench"] = round(figures["cell_per_s"] / figures["pgbench_per_s"], 4)
        measured.append(figures)
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {value:g}" for name, value in figures.items()))
    peak = medians(measured)["router_per_s"]
    at_half: list[dict[str, float]] = []
    for number in range(rounds):
        await until_quiet(view, cell)
        at_half.append(await half_of_peak(bench, peak, number, connections=connections, seconds=seconds))
        say(f"at half of {peak:g}/s: " + ", ".join(f"{name} {value:g}" for name, value in at_half[-1].items()))
    document = {
        "benchmark": "orders_per_second",
        "what": "accepted limit buys per second, one cell, one order per request; peer: pgbench, one order per call",
        "conditions": where,
        "settings": {
            "connections": connections,
            "customers": customers,
            "seconds": seconds,
            "rounds": rounds,
            "pgbench_clients": 32,
        },
        "median": medians(measured) | medians(at_half),
        "rounds": measured,
        "rounds_at_half_of_peak": at_half,
    }
    return document, write_result("orders_per_second", document)


async def half_of_peak(bench: Bench, peak: float, number: int, *, connections: int, seconds: int) -> dict[str, float]:
    """Latency through router and cell at half of the rate just measured; open loop, counted from when each was due.
    Raises MeasurementRefused."""
    requests = through_router(bench, number, connections, name="half")
    result = await drive_paced(
        bench.router_url, requests, per_s=peak / 2, connections=connections, seconds=seconds, wanted=201
    )
    return {f"half_{name}": value for name, value in latency_figures("router", checked(result, 201)).items()}


async def check(result: LoadResult, before: int, view: OperatorView, cell: str) -> None:
    """Raises MeasurementRefused unless the database has every order that was accepted, and no other."""
    stored = await orders_in(view, cell) - before
    if stored != checked(result, 201).statuses[201]:
        raise MeasurementRefused(f"{result.statuses[201]} orders were accepted, {stored} are in the database")
