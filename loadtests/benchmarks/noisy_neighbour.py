"""What one customer who floods a cell costs another on it: the other's orders and reads beside a flood of previews, of
orders, and of large answers that are read slowly, against the same with nobody beside them.

The cell (app server and PostgreSQL) has one core, router and both customers the other, the noisy one behind the rest.
In each round every kind has its turn, and quiet has two: what differs between those is noise (an A/A pair). Ratios are
taken within a round. The bar: no request of the neighbour fails, and their orders' p99 is within three times that of
quiet.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, load_signing_ring
from loadtests.benchmarks.noisy_customer import KINDS, burst
from loadtests.measurement.conditions import conditions
from loadtests.measurement.load_result import LoadResult
from loadtests.measurement.open_loop import paced
from loadtests.measurement.order_requests import limit_buy, order_around_key, orders_round_robin
from loadtests.measurement.own_cell import own_cell
from loadtests.measurement.own_market import LIMIT_PX, SYMBOL, open_in
from loadtests.measurement.own_processes import await_port, free_port, running_router
from loadtests.measurement.raw_http import build_request
from loadtests.measurement.results import Say, write_result
from loadtests.quantiles import percentile

ORDERS_PER_S: Final = 20.0
"""Of the neighbour: a busy customer, far below what a cell can do."""
READS_PER_S: Final = 20.0
"""Of the neighbour, beside the orders."""
CONNECTIONS: Final = 4
"""Of the neighbour, each for orders and for reads: as a browser holds them."""
SETTLE_S: Final = 1.0
"""A flood is at its height by then; and its last answers are through before the next turn."""
FIRST_ORDERS: Final = 600
"""Of the noisy customer, before anything is measured: a page of their entries is what they then read slowly."""
P99_RATIO_MAX: Final = 3.0
"""The bar of the orders: what a customer still takes for the same service."""
TURNS: Final = ("quiet", "again", *KINDS)
_CELL_CORE: Final = 1
"""The cell's processes share this processor,"""
_OTHERS_CORE: Final = 0
"""router, neighbour and flood the other one."""


@dataclass(frozen=True)
class Setup:
    port: int
    signer: CustomerTokenSigner
    neighbour: UUID
    noisy: UUID

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, user_id: UUID) -> str:
        return self.signer.sign(user_id, int(time.time()))


async def measure(say: Say, *, seconds: int, rounds: int) -> tuple[dict[str, Any], Path]:
    where = conditions()
    measured: list[dict[str, dict[str, Any]]] = []
    async with _setup() as setup:
        await _turn(setup, "quiet", seconds, "warm-up")
        for number in range(rounds):
            turns = TURNS if number % 2 == 0 else tuple(reversed(TURNS))
            measured.append({name: await _turn(setup, name, seconds, f"{number}") for name in turns})
            say(f"round {number + 1} of {rounds}")
    document = {
        "benchmark": "noisy_neighbour",
        "what": "a customer's orders and reads beside another who floods the same cell, against alone",
        "conditions": where,
        "settings": {
            "seconds": seconds, "rounds": rounds, "orders_per_s": ORDERS_PER_S, "reads_per_s": READS_PER_S,
            "connections": CONNECTIONS, "cores": {"cell": _CELL_CORE, "others": _OTHERS_CORE},
            "bar": {"failed": 0, "order_p99_ratio": P99_RATIO_MAX},
        },
        "median": summary(measured),
        "rounds": measured,
    }  # fmt: skip
    return document, write_result("noisy_neighbour", document)


def summary(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Medians over the rounds, ratios to `quiet` within a round, all failures, and whether the bar is passed."""
    found: dict[str, dict[str, Any]] = {}
    for name in TURNS:
        of = found[name] = {
            figure: round(median(each[name][figure] for each in rounds), 3)
            for figure in ("order_p50_ms", "order_p99_ms", "read_p50_ms", "read_p99_ms")
        }
        of["failed"] = sum(each[name]["failed"] for each in rounds)
        if name != "quiet":
            for figure in ("order_p99_ms", "read_p99_ms"):
                ratio = median(each[name][figure] / each["quiet"][figure] for each in rounds)
                of[f"{figure.removesuffix('_ms')}_ratio"] = round(ratio, 3)
            of["passed"] = of["failed"] == 0 and of["order_p99_ratio"] <= P99_RATIO_MAX
    return found


@asynccontextmanager
async def _setup() -> AsyncIterator[Setup]:
    everywhere = os.sched_getaffinity(0)
    async with AsyncExitStack() as started:
        os.sched_setaffinity(0, {_CELL_CORE % (os.cpu_count() or 1)})  # what is started inherits it
        try:
            cell = await started.enter_async_context(own_cell())
            server = await started.enter_async_context(cell.app_server())
        finally:
            os.sched_setaffinity(0, {_OTHERS_CORE})
        started.callback(os.sched_setaffinity, 0, everywhere)
        neighbour, noisy = await open_in(cell, 2)
        port = free_port()
        started.enter_context(running_router(cell.folder, port, {"cell-1": server.url}, core=_OTHERS_CORE))
        await_port(port)
        signer = CustomerTokenSigner(load_signing_ring(cell.folder / "keys" / CUSTOMER_SIGNING_FILE))
        setup = Setup(port, signer, neighbour, noisy)
        for _ in range(FIRST_ORDERS // 20):
            await burst(port, "orders", setup.token(noisy), limit_buy(SYMBOL, LIMIT_PX), 20)
        yield setup


async def _turn(setup: Setup, name: str, seconds: int, key_prefix: str) -> dict[str, Any]:
    """The neighbour at their pace, beside a flood of that kind or nobody."""
    headers = {"Authorization": f"Bearer {setup.token(setup.neighbour)}"}
    order = order_around_key(setup.url, headers, limit_buy(SYMBOL, LIMIT_PX))
    read = build_request("GET", f"{setup.url}/v1/account", headers)
    orders_of = orders_round_robin([order] * CONNECTIONS, None, f"{name}-{key_prefix}")
    with _flood(setup, name) as answers:
        if name in KINDS:
            await asyncio.sleep(SETTLE_S)

        def distinct(lane: int, number: int) -> bytes:
            return orders_of(lane, number * CONNECTIONS + lane)  # one customer on every connection: keys must differ

        orders, reads = await asyncio.gather(
            _drive(setup.url, distinct, ORDERS_PER_S, seconds, 201),
            _drive(setup.url, lambda lane, number: read, READS_PER_S, seconds, 200),
        )
    await asyncio.sleep(SETTLE_S)
    return {
        **_figures("order", orders),
        **_figures("read", reads),
        "failed": _failed(orders, 201) + _failed(reads, 200),
        "first_failure": orders.first_bad or reads.first_bad,
        "beside": dict(answers),
    }


async def _drive(url: str, request_of: Any, per_s: float, seconds: int, wanted: int) -> LoadResult:
    async with paced(url, request_of, connections=CONNECTIONS, wanted=wanted) as client:
        await client.drive(per_s=per_s, seconds=seconds)
    return client.result


def _figures(what: str, result: LoadResult) -> dict[str, float]:
    return {f"{what}_p{share}_ms": round(percentile(result.latencies_s, share / 100) * 1000, 3) for share in (50, 99)}


def _failed(result: LoadResult, wanted: int) -> int:
    return sum(count for status, count in result.statuses.items() if status != wanted)


@contextmanager
def _flood(setup: Setup, name: str) -> Iterator[Counter[str]]:
    """The noisy customer's process; what it was answered is there when it has ended."""
    answers: Counter[str] = Counter()
    if name not in KINDS:
        yield answers
        return
    body = limit_buy(SYMBOL, LIMIT_PX).decode()
    token = setup.token(setup.noisy)
    # A real one has a machine of their own: what sending costs shall not be taken from the router that is measured.
    customer = ["nice", "-n", "15", sys.executable, "-m", "loadtests.benchmarks.noisy_customer"]
    command = [*customer, str(setup.port), name, token, body]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        yield answers
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=15)
        for line in out.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                answers.update(json.loads(line))
