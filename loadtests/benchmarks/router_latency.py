"""What the router adds: the same request through it and straight to the cell, in alternating rounds.

A read (`GET /v1/account`) and an order, each with one connection (nobody waits for anybody) and with eight. The
added p50 and p99 of a pair of rounds are the differences of the two; the result is their median over the rounds.
"""

from pathlib import Path
from typing import Any

from loadtests.measurement.closed_loop import drive
from loadtests.measurement.conditions import conditions
from loadtests.measurement.load_result import RequestOf, checked
from loadtests.measurement.raw_http import build_request
from loadtests.measurement.results import Say, write_result
from loadtests.measurement.stack_customers import Bench, open_bench
from loadtests.measurement.stack_queues import until_quiet
from loadtests.measurement.stack_requests import through_router, to_cell
from loadtests.operator_view import OperatorView
from loadtests.quantiles import medians, percentile

CONNECTIONS = (1, 8)
"""One: what a request costs by itself. Eight: with a queue before the router's core."""


async def measure(
    router_url: str, view: OperatorView, say: Say, *, cell: str, seconds: int, rounds: int
) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused."""
    where = conditions()
    bench = await open_bench(router_url, view, cell=cell, customers=max(CONNECTIONS))
    measured: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds + 1):  # the first round warms up and is not kept
        for connections in CONNECTIONS:
            for name, pair in (("read", account_reads(bench)), ("order", _orders(bench, number, connections))):
                figures = await _pair(bench, pair, connections, seconds, 200 if name == "read" else 201)
                await until_quiet(view, cell)
                if number > 0:
                    measured.setdefault(f"{name}_{connections}", []).append(figures)
        say(f"round {number} of {rounds}" if number else "warmed up")
    document = {
        "benchmark": "router_latency",
        "what": "milliseconds that the router adds to the same request sent straight to the cell",
        "conditions": where,
        "settings": {"connections": CONNECTIONS, "seconds": seconds, "rounds": rounds},
        "median": {name: medians(rounds_of) for name, rounds_of in measured.items()},
        "rounds": measured,
    }
    return document, write_result("router_latency", document)


def _orders(bench: Bench, number: int, connections: int) -> tuple[RequestOf, RequestOf]:
    lot = 1_000 + number * 100 + connections  # keys of their own, apart from those of any other round
    return through_router(bench, lot), to_cell(bench, lot)


def account_reads(bench: Bench) -> tuple[RequestOf, RequestOf]:
    routed = [
        build_request("GET", f"{bench.router_url}/v1/account", {"Authorization": f"Bearer {customer.access_token}"})
        for customer in bench.customers
    ]
    direct = [
        build_request("GET", f"{bench.cell_url}/v1/account", {"X-Route-Token": token}) for token in bench.route_tokens()
    ]
    return (lambda lane, number: routed[lane]), (lambda lane, number: direct[lane])


async def _pair(
    bench: Bench, pair: tuple[RequestOf, RequestOf], connections: int, seconds: int, wanted: int
) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, url, request_of in (("router", bench.router_url, pair[0]), ("cell", bench.cell_url, pair[1])):
        result = await drive(url, request_of, connections=connections, seconds=seconds, wanted=wanted)
        checked(result, wanted)
        for label, share in (("p50", 0.50), ("p99", 0.99)):
            figures[f"{name}_{label}_ms"] = round(percentile(result.latencies_s, share) * 1000, 3)
    for label in ("p50", "p99"):
        figures[f"added_{label}_ms"] = round(figures[f"router_{label}_ms"] - figures[f"cell_{label}_ms"], 3)
    return figures
