"""Does a cell with two million orders place as fast as an empty one, and does a page of orders cost the same?

Every order on the way there is placed by the shipped procedure, 64 in a call on two connections, so the books are right
and the rate is seen all the way: `share_of_first` is a slice's rate by the first one's. Nothing drains the outbox
or the instructions; their two million rows stay, which a running cell never has.
Minutes pass between the first slice and the last, and a shared machine is not the same then. So half way and at the end
the first slice is run again, in a new cell, and the full cell places as many right before or after it: `to_empty` is
the median ratio of such pairs. Only one server runs at a time, the other is stopped (SIGSTOP), so neither pays for what
the other does in the background, and the full one gets no pause to catch up in: its checkpoints and its vacuum
fall into its own turns. What no neighbour can change is counted as well: the pages that an order looks at (autovacuum's
among them), and the server's processor time.
What a customer notices is measured over HTTP at an app server, in the empty cell, half way and at the end: orders per
second over 64 connections, the median of a few short runs.
Pages are read over HTTP from an app server of the cell by a customer who has a page of orders, when the others
have a thousand orders and when they have a million.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from loadtests.figures import to_wire
from loadtests.measurement.closed_loop import drive
from loadtests.measurement.conditions import conditions
from loadtests.measurement.load_result import checked
from loadtests.measurement.own_cell import OwnCell, own_cell
from loadtests.measurement.own_market import (
    BATCH,
    IN_FLIGHT,
    LIMIT_PX,
    SYMBOL,
    open_in,
    route_tokens,
)
from loadtests.measurement.pgbench import place_script, run_script
from loadtests.measurement.queries import Counts, place_under_key, settle_tables
from loadtests.measurement.raw_http import build_request
from loadtests.measurement.results import Say, write_result
from loadtests.quantiles import percentile

PAGE_ORDERS: Final = 50
"""A customer's usual page."""
PAGES_AT: Final = (1_000, 1_000_000)
"""Orders in the cell when a page is measured: hardly any, and a million."""
PAGE_S: Final = 2.0
"""Of one customer asking in a closed loop: hundreds of pages."""
HTTP_CONNECTIONS: Final = 64
"""As many as fill one batch of commands."""
HTTP_USERS: Final = 256
"""Four for each connection: a command seldom waits for its user's last one."""
HTTP_RUNS: Final = 6
"""The first warms up and is not kept."""
HTTP_S: Final = 2.0
"""As a slice of calls, long enough for hundreds of batches."""
PAIRS: Final = 5
"""Full and empty cell beside each other; an odd number has a median of its own."""
PAIR_ORDERS: Final = 102_400
"""In each turn of a pair: as many as a slice."""
REAP_S: Final = 0.3
"""For connections of the turn before to end, whose processor time would else count for this one."""
WARM_UP_ORDERS: Final = 12_800
"""In the new cell, before its turn: the first slice has as many behind it, placed over HTTP."""


Rounds = list[dict[str, dict[str, float]]]
"""Round -> `full` or `empty` -> figure."""


async def measure(say: Say, *, orders: int, slices: int, customers: int) -> tuple[dict[str, Any], Path]:
    """Fill one cell slice by slice; return the document and the file that it was written to.

    After each slice: its rate, processor time and pages an order. At the beginning, the middle and the end also orders
    over HTTP and, in the latter two, the same slice in an empty cell right before or after. A customer's page is read
    when others have few orders and when they have a million. Raises MeasurementRefused, PgbenchFailed.
    """
    where = conditions()
    measured: list[dict[str, float]] = []
    pages: list[dict[str, float]] = []
    http: list[dict[str, float]] = []
    beside: dict[int, Rounds] = {}
    async with own_cell() as cell:
        placing = await Placing.open(cell, customers)
        users = placing.users
        (reader,) = await open_in(cell, 1)
        for number in range(PAGE_ORDERS):
            await place_under_key(cell.service_dsn, [reader], f"mine-{number}", SYMBOL, LIMIT_PX)
        await settle_tables(cell.superuser_dsn)
        counts = await Counts.connect(cell.superuser_dsn)
        async with cell.app_server() as server:

            async def place_over_http() -> None:
                rates = [await orders_over_http(cell, server.url, users[:HTTP_USERS]) for _ in range(HTTP_RUNS)]
                http.append({"orders": (await counts.read())[0] - PAGE_ORDERS, "per_s": median(rates[1:])})
                share = http[-1]["per_s"] / http[0]["per_s"]
                say(
                    f"over HTTP at {http[-1]['orders']:,} orders: {http[-1]['per_s']:,.0f}/s ({share:.2f} of the first)"
                )

            await place_over_http()
            await placing.place(PAGES_AT[0])
            pages.append({"others_orders": PAGES_AT[0], **await read_pages(cell, server.url, reader)})
            for number in range(slices):
                pages_before = await counts.pages()
                placed = await placing.place(orders // slices)
                pages_per_order = (await counts.pages() - pages_before) / placed.orders
                stored = (await counts.read())[0] - PAGE_ORDERS
                share = round(placed.per_s / (measured[0]["per_s"] if measured else placed.per_s), 3)
                measured.append(
                    {
                        "orders": stored,
                        "share_of_first": share,
                        "pages_per_order": round(pages_per_order, 1),
                        **placed.figures(),
                    }
                )
                say(
                    f"{stored:,} orders: {placed.per_s:,.0f}/s ({share:.2f} of the first),"
                    f" server {placed.cpu_us:.0f} us and {pages_per_order:.1f} pages each"
                )
                if stored >= PAGES_AT[1] and len(pages) == 1:
                    pages.append({"others_orders": stored, **await read_pages(cell, server.url, reader)})
                if number + 1 in (slices // 2, slices):
                    await place_over_http()
                    beside[stored] = await beside_an_empty_cell(placing, customers)
                    share = of_empty(beside[stored], "per_s")
                    say(f"beside an empty cell at {stored:,} orders: {share:.2f} of its rate")
        await counts.close()
    say(
        "; ".join(f"a page at {page['others_orders']:,.0f} orders of others: p50 {page['p50_ms']} ms" for page in pages)
    )
    last = measured[-1]
    document = {
        "benchmark": "growth",
        "what": "limit buys per second as a cell fills, 64 in a call; peer: the first slice. A page by HTTP",
        "conditions": where,
        "settings": {
            "orders": orders,
            "slices": slices,
            "users": customers,
            "batch": BATCH,
            "page_orders": PAGE_ORDERS,
        },
        "median": {
            "first_per_s": measured[0]["per_s"],
            "last_per_s": last["per_s"],
            "last_to_first": last["share_of_first"],
            "lowest_to_first": min(each["share_of_first"] for each in measured),
            "median_to_first": median(each["share_of_first"] for each in measured[1:]),
            "to_empty": {str(stored): of_empty(rounds, "per_s") for stored, rounds in beside.items()},
            "server_cpu_to_empty": {
                str(stored): of_empty(rounds, "server_cpu_us") for stored, rounds in beside.items()
            },
            "http_first_per_s": http[0]["per_s"],
            "http_lowest_to_first": round(min(each["per_s"] for each in http) / http[0]["per_s"], 3),
            "first_pages_per_order": measured[0]["pages_per_order"],
            "last_pages_per_order": last["pages_per_order"],
            "first_server_cpu_us": measured[0]["server_cpu_us"],
            "last_server_cpu_us": last["server_cpu_us"],
            "page_p50_ms_at_1000": pages[0]["p50_ms"],
            **({"page_ratio": round(pages[1]["p50_ms"] / pages[0]["p50_ms"], 3)} if len(pages) > 1 else {}),
        },
        "rounds": measured,
        "beside_an_empty_cell": {str(stored): rounds for stored, rounds in beside.items()},
        "over_http": http,
        "pages": pages,
    }
    return document, write_result("growth", document)


@dataclass(frozen=True, slots=True)
class Placed:
    """One run of the procedure: orders per second, and the server's processor time for each."""

    orders: int
    per_s: float
    cpu_us: float

    def figures(self) -> dict[str, float]:
        return {"per_s": round(self.per_s, 1), "server_cpu_us": round(self.cpu_us, 1)}


@dataclass(frozen=True, slots=True)
class Placing:
    """Customers of a cell and the calls that place for them."""

    cell: OwnCell
    users: list[uuid.UUID]
    script: str

    @classmethod
    async def open(cls, cell: OwnCell, customers: int) -> "Placing":
        """Raises MeasurementRefused, PgbenchFailed."""
        users = await open_in(cell, customers)
        script = place_script(users, clients=IN_FLIGHT, batch=BATCH, symbol=SYMBOL, limit_px=LIMIT_PX)
        return cls(cell, users, script)

    async def place(self, count: int) -> Placed:
        """Raises PgbenchFailed."""
        calls = max(1, count // BATCH // IN_FLIGHT)
        before_s = self.cell.server_cpu_s()
        ran = await run_script(self.script, self.cell.database, clients=IN_FLIGHT, calls_each=calls)
        cpu_s = self.cell.server_cpu_s() - before_s
        placed = ran.calls * BATCH
        return Placed(placed, ran.calls_per_s * BATCH, cpu_s * 1e6 / placed)


async def beside_an_empty_cell(full: Placing, customers: int) -> Rounds:
    """The full cell and a new one, each as often first as second; a stopped server neither helps nor hinders."""
    rounds: Rounds = []
    for number in range(PAIRS):
        figures: dict[str, dict[str, float]] = {}
        with full.cell.frozen():
            async with own_cell() as cell:
                empty = await Placing.open(cell, customers)
                await settle_tables(cell.superuser_dsn)
                await empty.place(WARM_UP_ORDERS)
                if number % 2:
                    figures["empty"] = (await empty.place(PAIR_ORDERS)).figures()
                with cell.frozen(), full.cell.thawed():
                    await asyncio.sleep(REAP_S)
                    figures["full"] = (await full.place(PAIR_ORDERS)).figures()
                if not number % 2:
                    figures["empty"] = (await empty.place(PAIR_ORDERS)).figures()
        rounds.append(figures)
    return rounds


def of_empty(rounds: Rounds, figure: str) -> float:
    """The full cell's figure by the empty one's, the median over the rounds."""
    return round(median(each["full"][figure] / each["empty"][figure] for each in rounds), 3)


async def orders_over_http(cell: OwnCell, url: str, users: Sequence[uuid.UUID]) -> float:
    """Accepted per second, customers in turn on every connection. Raises MeasurementRefused."""
    tokens = route_tokens(cell, users)
    price = to_wire(LIMIT_PX)
    body = f'{{"symbol":"{SYMBOL}","side":"buy","type":"limit","qty":"1","limit_price":"{price}"}}'.encode()

    def order(lane: int, number: int) -> bytes:
        token = tokens[(lane + number * HTTP_CONNECTIONS) % len(tokens)]
        headers = {"X-Route-Token": token, "X-Idempotency-Key": str(uuid.uuid4())}
        return build_request("POST", f"{url}/v1/orders", headers, body)

    result = await drive(url, order, connections=HTTP_CONNECTIONS, seconds=HTTP_S, wanted=201)
    return round(checked(result, 201).per_second(201), 1)


async def read_pages(cell: OwnCell, url: str, reader: uuid.UUID) -> dict[str, float]:
    """One connection that asks for the same page again and again. Raises MeasurementRefused."""
    (token,) = route_tokens(cell, [reader])
    request = build_request("GET", f"{url}/v1/orders", {"X-Route-Token": token}).replace(
        b"/v1/orders", b"/v1/orders?limit=%d" % PAGE_ORDERS, 1
    )
    result = await drive(url, lambda _lane, _number: request, connections=1, seconds=PAGE_S, wanted=200)
    checked(result, 200)
    return {
        "p50_ms": round(percentile(result.latencies_s, 0.50) * 1000, 3),
        "p99_ms": round(percentile(result.latencies_s, 0.99) * 1000, 3),
    }
