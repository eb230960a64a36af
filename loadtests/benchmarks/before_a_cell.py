"""What our router adds before a cell, and what HAProxy adds before the same cell, at half of what both sustain.

The cell is a real one: an app server and its PostgreSQL, as a stack makes them. Both proxies check a token and look the
user up, as in `router_vs_haproxy`; HAProxy lets the cell's own token pass, which ours makes. Measured twice:
`one_core_each`: the cell has a core of its own, the proxies have the other in turn, beside the client, which takes
little of it; and `shared`: everything wherever the scheduler puts it, where most of what a proxy adds is the wait for a
processor. Half of the sustained rate is sought anew for each, for orders and for reads. The three take turns
(`alternation`); the added p50 and p99 of a round are differences to asking the cell, and the result is their median.

Needs `apt-get install haproxy`. Nothing takes the orders out of the cell: venue, relay and broker are not the question.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, load_signing_ring
from loadtests.measurement.alternation import TURN_S, Target, alternate
from loadtests.measurement.closed_loop import drive
from loadtests.measurement.conditions import conditions
from loadtests.measurement.haproxy_peer import haproxy_config, hs256, need_programs, program_version, users_map
from loadtests.measurement.load_result import checked
from loadtests.measurement.order_requests import limit_buy, order_around_key, orders_round_robin
from loadtests.measurement.own_cell import own_cell
from loadtests.measurement.own_market import LIMIT_PX, SYMBOL, open_in, route_tokens
from loadtests.measurement.own_processes import await_port, free_port, running_haproxy, running_router
from loadtests.measurement.raw_http import build_request
from loadtests.measurement.results import Say, write_result
from loadtests.quantiles import medians

CONNECTIONS: Final = 32
"""Each rests between requests at half load: enough that no request waits for a free one."""
CUSTOMERS: Final = 256
"""In turn on the connections, so that no order waits for its customer's last one."""
CAPACITY_S: Final = 4
"""Of the closed loop whose half is the load: the rate settles within a second."""
KINDS: Final = {"read": 200, "order": 201}
"""What is asked for, and the status of a right answer."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which processors the cell may use, and which the proxies and the client; None: all."""

    cell: int | None
    proxy: int | None


ARRANGEMENTS: Final = {"one_core_each": Cores(cell=1, proxy=0), "shared": Cores(cell=None, proxy=None)}
"""Numbers of processors, of two."""


async def measure(say: Say, *, seconds: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused."""
    need_programs("haproxy", "taskset")
    where = conditions()
    measured = {name: await _measure_on(cores, name, say, seconds, rounds) for name, cores in ARRANGEMENTS.items()}
    document = {
        "benchmark": "before_a_cell",
        "what": "milliseconds that our router, and HAProxy, add before a real cell at half of the sustained rate",
        "conditions": where | {"haproxy": program_version("haproxy", "-v")},
        "settings": {
            "connections": CONNECTIONS, "customers": CUSTOMERS, "seconds": seconds, "turn_s": TURN_S, "rounds": rounds,
            "cores": {name: asdict(cores) for name, cores in ARRANGEMENTS.items()},
        },
        "median": {
            name: {kind: medians(rounds_of) for kind, rounds_of in kinds.items()} for name, kinds in measured.items()
        },
        "rounds": measured,
    }  # fmt: skip
    return document, write_result("before_a_cell", document)


async def _measure_on(
    cores: Cores, arrangement: str, say: Say, seconds: int, rounds: int
) -> dict[str, list[dict[str, float]]]:
    measured: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    async with _servers(cores) as accesses:
        with _on_core(cores.proxy):
            rates = {kind: await _sustained_per_s(accesses, kind) / 2 for kind in KINDS}
            say(f"{arrangement}: " + ", ".join(f"{kind} at {rate:.0f} per second" for kind, rate in rates.items()))
            for number in range(rounds):
                for kind, wanted in KINDS.items():
                    targets = [access.target(kind, f"{number}") for access in accesses]
                    figures = await alternate(
                        targets, per_s=rates[kind], seconds=seconds, connections=CONNECTIONS, wanted=wanted
                    )
                    measured[kind].append(figures)
                say(f"round {number + 1} of {rounds}")
    return measured


class Access:
    """One access to the cell: whom to ask, and as whom."""

    def __init__(
        self, name: str, port: int, headers: Callable[[], list[dict[str, str]]], pid: int | None = None
    ) -> None:
        self._name = name
        self._pid = pid
        self._url = f"http://127.0.0.1:{port}"
        self._headers = headers  # made anew for each target: a token does not live as long as a benchmark

    def target(self, kind: str, key_prefix: str) -> Target:
        """Customers in turn on every connection. Idempotency keys begin with `key_prefix`."""
        if kind == "read":
            reads = [build_request("GET", f"{self._url}/v1/account", each) for each in self._headers()]
            return Target(
                self._name, self._url, lambda lane, at: reads[(lane + at * CONNECTIONS) % len(reads)], self._pid
            )
        body = limit_buy(SYMBOL, LIMIT_PX)
        orders = [order_around_key(self._url, each, body) for each in self._headers()]
        return Target(
            self._name, self._url, orders_round_robin(orders, CONNECTIONS, f"{self._name}-{key_prefix}"), self._pid
        )


@asynccontextmanager
async def _servers(cores: Cores) -> AsyncIterator[list[Access]]:
    """Router, HAProxy, and last the cell itself."""
    async with AsyncExitStack() as started:
        with _on_core(cores.cell):  # what is started inherits it
            cell = await started.enter_async_context(own_cell())
            server = await started.enter_async_context(cell.app_server())
        users = await open_in(cell, CUSTOMERS)
        router_port, haproxy_port = free_port(), free_port()
        router = started.enter_context(
            running_router(cell.folder, router_port, {"cell-1": server.url}, core=cores.proxy)  # with the cell's keys
        )
        signer = CustomerTokenSigner(load_signing_ring(cell.folder / "keys" / CUSTOMER_SIGNING_FILE))

        def passes() -> list[dict[str, str]]:
            return [{"X-Route-Token": token} for token in route_tokens(cell, users)]

        def bearers() -> list[dict[str, str]]:
            return [_bearer(signer.sign(user, int(time.time()))) for user in users]

        def both() -> list[dict[str, str]]:
            until_s = int(time.time()) + 3_600
            return [_bearer(hs256(user, until_s)) | each for user, each in zip(users, passes(), strict=True)]

        users_file = cell.folder / "users.map"
        users_file.write_text(users_map(users))
        config = haproxy_config(haproxy_port, server.customer_port, users_file)
        haproxy = started.enter_context(running_haproxy(cell.folder / "haproxy.cfg", config, core=cores.proxy))
        for port in (router_port, haproxy_port):
            await_port(port)
        yield [
            Access("router", router_port, bearers, router),
            Access("haproxy", haproxy_port, both, haproxy),
            Access("cell", server.customer_port, passes),
        ]


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _sustained_per_s(accesses: list[Access], kind: str) -> float:
    """A closed loop through the router: what both can do."""
    target = accesses[0].target(kind, "capacity")
    full = await drive(target.url, target.request_of, connections=CONNECTIONS, seconds=CAPACITY_S, wanted=KINDS[kind])
    return checked(full, KINDS[kind]).per_second(KINDS[kind])


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """This process, and for ever whatever it starts meanwhile. None: where it is."""
    if core is None:
        yield
        return
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)
