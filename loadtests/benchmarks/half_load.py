"""What the router adds at half load: reads and orders, through the router and straight to the cell.

Half load has two meanings here, and both are measured. `read` and `order`: half of the rate that router and cell
sustain together. Sustained is what the whole cell keeps up with: an order's journey (venue, fill, relay, broker) goes
on after its answer, so orders are counted until nothing waits in the cell any more. At half of that rate a machine that
answers reads is about half busy, but one that takes orders is busy most of the time: commands share calls, so few cost
nearly as much as many. `order_half_busy`: the rate at which all processors together work for half of the time.
How busy they were is part of each result.

The two take turns (`alternation`). The added p50 and p99 of a round are their differences; the result is the median.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import psutil

from loadtests.benchmarks.router_latency import account_reads
from loadtests.measurement.alternation import TURN_S, Target, alternate, busy_share
from loadtests.measurement.closed_loop import drive
from loadtests.measurement.conditions import conditions
from loadtests.measurement.load_result import RequestOf, checked
from loadtests.measurement.open_loop import paced
from loadtests.measurement.results import Say, write_result
from loadtests.measurement.stack_customers import Bench, open_bench
from loadtests.measurement.stack_queues import until_quiet
from loadtests.measurement.stack_requests import through_router, to_cell
from loadtests.operator_view import OperatorView
from loadtests.quantiles import medians

CONNECTIONS: Final = 32
"""Each rests between requests at half load: enough that no request waits for a free one."""
CUSTOMERS: Final = 256
"""Who take turns on the connections; one each would wait for its own last order's way to the market."""
KINDS: Final = {"read": 200, "order": 201, "order_half_busy": 201}
"""What is measured, and the status of a right answer."""
HALF_BUSY: Final = 0.5
"""Share of the processors' time."""
SEARCH_STEPS: Final = 4
"""Each halves what is unknown: a sixteenth of the span is left, less than rounds differ."""
SEARCH_S: Final = 3.0
"""Of one step."""
CAPACITY_S: Final = 8
"""Of the closed loop before the search."""
_CAPACITY_ROUND: Final = 90_000  # numbers that no other measurement uses: keys of orders must differ
_SEARCH_ROUND: Final = 90_001
"""Rounds name idempotency keys: these three ranges do not meet."""
_FIRST_ROUND: Final = 91_000


async def measure(
    router_url: str, view: OperatorView, say: Say, *, cell: str, seconds: int, rounds: int
) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused."""
    where = conditions()
    bench = await open_bench(router_url, view, cell=cell, customers=CUSTOMERS)
    rates: dict[str, float] = {}
    for name in ("read", "order"):
        routed, _ = _pair(bench, name, _CAPACITY_ROUND)
        sustained = await _sustained_per_s(router_url, routed, KINDS[name], lambda: until_quiet(view, cell))
        rates[name] = sustained / 2
    rates["order_half_busy"] = await _half_busy_per_s(bench, rates["order"], lambda: until_quiet(view, cell))
    say(", ".join(f"{name} at {rate:.0f} per second" for name, rate in rates.items()))
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in rates}
    for number in range(rounds):
        for name, wanted in KINDS.items():
            requests = _pair(bench, name, _FIRST_ROUND + 2 * number + (name == "order_half_busy"))
            figures = await alternate(
                [Target("router", bench.router_url, requests[0]), Target("cell", bench.cell_url, requests[1])],
                per_s=rates[name],
                seconds=seconds,
                connections=CONNECTIONS,
                wanted=wanted,
            )
            measured[name].append(figures)
            await until_quiet(view, cell)
        say(f"round {number + 1} of {rounds}")
    document = {
        "benchmark": "half_load",
        "what": "milliseconds that the router adds at half of the sustained rate, and on a machine that is half busy",
        "conditions": where,
        "settings": {
            "connections": CONNECTIONS, "customers": CUSTOMERS, "seconds": seconds, "turn_s": TURN_S, "rounds": rounds,
            "per_s": {name: round(rate) for name, rate in rates.items()},
        },
        "median": {name: medians(rounds_of) for name, rounds_of in measured.items()},
        "rounds": measured,
    }  # fmt: skip
    return document, write_result("half_load", document)


async def _sustained_per_s(url: str, request_of: RequestOf, wanted: int, rest: Callable[[], Awaitable[None]]) -> float:
    """Answered by the time at which the cell rests again, which is looked at every second. What is left over is worked
    off in larger batches than what trickles in, so a steady stream may sustain less."""
    began = perf_counter()
    full = await drive(url, request_of, connections=CONNECTIONS, seconds=CAPACITY_S, wanted=wanted)
    await rest()
    return checked(full, wanted).statuses[wanted] / (perf_counter() - began)


async def _half_busy_per_s(bench: Bench, per_s: float, rest: Callable[[], Awaitable[None]]) -> float:
    """Orders per second that keep the processors busy for half of the time, sought from a rate that is above it."""
    routed, _ = _pair(bench, "order", _SEARCH_ROUND)
    async with paced(bench.router_url, routed, connections=CONNECTIONS, wanted=201) as client:
        for _ in range(SEARCH_STEPS):
            before = psutil.cpu_times()
            await client.drive(per_s=per_s, seconds=SEARCH_S)
            per_s *= HALF_BUSY / busy_share(before, psutil.cpu_times())
            await rest()
    checked(client.result, 201)
    return per_s


def _pair(bench: Bench, name: str, round_number: int) -> tuple[RequestOf, RequestOf]:
    if name == "read":
        return account_reads(bench)
    return through_router(bench, round_number, CONNECTIONS), to_cell(bench, round_number, CONNECTIONS)
