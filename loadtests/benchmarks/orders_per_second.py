"""Accepted limit orders per second: through router and cell, directly to the cell, and by pgbench as the peer.

One cell, everything on this machine, in the same run and on the same database; each round measures all three in
turn, and waits for empty queues between them, so that no one pays for another's backlog. What is accepted is
counted twice: by the client (201) and by the database (orders more than before); a run in which they differ is
refused.

Then the latency at half of the rate through the router: an open loop, in which a slow answer does not put off the
next request and whoever has to wait for a connection counts from the moment when his request was due.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtests.benchmarks.bench_customers import Bench, open_bench, state_folder
from loadtests.benchmarks.conditions import conditions, medians, write_result
from loadtests.benchmarks.pgbench import database_of, pgbench_version, run_pgbench
from loadtests.figures import percentile
from loadtests.operator_view import OperatorView
from loadtests.paced_client import drive_paced
from loadtests.raw_client import LoadResult, RequestOf, build_request, drive

QUIET_S_MAX = 120.0
WARM_UP_S = 2.0

Say = Callable[[str], None]


class MeasurementRefused(Exception):
    """What was measured is not what was meant."""


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
    where = conditions()
    customers = max(customers // connections, 1) * connections
    say(f"signing up {customers} customers of {cell}")
    bench = await open_bench(router_url, view, cell=cell, customers=customers)
    environment = await view.environment()
    dsn = environment[f"{cell.upper().replace('-', '_')}_DSN"]
    database = database_of(dsn, await state_folder(view) / "secrets" / "pgpass")
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
            figures |= told(name, result)
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
    """Latency through router and cell at half of the rate just measured; open loop, counted from when each was due."""
    requests = through_router(bench, number, connections, name="half")
    result = await drive_paced(
        bench.router_url, requests, per_s=peak / 2, connections=connections, seconds=seconds, wanted=201
    )
    return {f"half_{name}": value for name, value in told("router", checked(result, 201)).items()}


def through_router(
    bench: Bench, round_number: int, connections: int | None = None, *, name: str = "router"
) -> RequestOf:
    heads = [
        order_around_key(bench.router_url, {"Authorization": f"Bearer {customer.access_token}"}, bench.body())
        for customer in bench.customers
    ]
    return orders_in_turn(heads, connections, f"{name}-{round_number}")


def to_cell(bench: Bench, round_number: int, connections: int | None = None) -> RequestOf:
    body = bench.body()
    heads = [order_around_key(bench.cell_url, {"X-Route-Token": token}, body) for token in bench.route_tokens()]
    return orders_in_turn(heads, connections, f"cell-{round_number}")


_KEY_MARK = "KEY-OF-THIS-REQUEST"


def order_around_key(url: str, headers: dict[str, str], body: bytes) -> tuple[bytes, bytes]:
    """An order before and after its idempotency key; only the key differs from one request to the next."""
    request = build_request("POST", f"{url}/v1/orders", {**headers, "X-Idempotency-Key": _KEY_MARK}, body)
    before, _, after = request.partition(_KEY_MARK.encode())
    return before, after


def orders_in_turn(heads: list[tuple[bytes, bytes]], connections: int | None, name: str) -> RequestOf:
    """Each connection serves customers of its own, one after the other; None: one customer on each."""
    connections = connections or len(heads)
    turns = len(heads) // connections

    def request_of(lane: int, number: int) -> bytes:
        before, after = heads[lane + connections * (number % turns)]
        return b"%b%b-%d%b" % (before, name.encode(), number, after)

    return request_of


def checked(result: LoadResult, wanted: int) -> LoadResult:
    """The result, if every answer was the wanted one. Raises MeasurementRefused."""
    if set(result.statuses) != {wanted}:
        raise MeasurementRefused(f"answers other than {wanted}: {dict(result.statuses)}; the first: {result.first_bad}")
    return result


def told(name: str, result: LoadResult, wanted: int = 201) -> dict[str, float]:
    return {
        f"{name}_per_s": round(result.per_second(wanted), 1),
        f"{name}_p50_ms": round(percentile(result.latencies_s, 0.50) * 1000, 3),
        f"{name}_p99_ms": round(percentile(result.latencies_s, 0.99) * 1000, 3),
    }


async def check(result: LoadResult, before: int, view: OperatorView, cell: str) -> None:
    stored = await orders_in(view, cell) - before
    if stored != checked(result, 201).statuses[201]:
        raise MeasurementRefused(f"{result.statuses[201]} orders were accepted, {stored} are in the database")


async def orders_in(view: OperatorView, cell: str) -> int:
    summary = await view.summary(cell)
    return sum(int(count) for count in summary["orders_by_status"].values())


async def until_quiet(view: OperatorView, cell: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + QUIET_S_MAX
    while True:
        summary = await view.summary(cell)
        waiting = {name: summary[name] for name in ("outbox_pending", "inbox_pending", "instructions_pending")}
        if not any(waiting.values()):
            return
        if loop.time() > deadline:
            raise MeasurementRefused(f"{cell} is not quiet after {QUIET_S_MAX:.0f} s: {waiting}")
        await asyncio.sleep(1.0)
