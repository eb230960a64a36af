"""`up` with another setting while customers read and trade: each process begins anew, and nobody gets a failed answer.

Requests leave when they are due, on a connection each, so a refused connection counts as much as a wrong answer. The
command is killed once in the middle; the next one finishes. About two minutes and a half on two quiet cores.
"""

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import psutil
import psycopg
import pytest

from infra.backends import catalog
from infra.backends.addresses import Addresses
from infra.backends.backend import BackendError
from infra.backends.checkout import project_root
from infra.backends.local.backend import LocalBackend
from infra.backends.local.launching import write_launch
from infra.backends.local.stand_in import STAND_IN
from loadtests.client import RouterClient
from tests.support import raw_http
from tests.support.eventually import eventually
from tests.support.stack import Stack, fresh_stack

pytestmark = [pytest.mark.anyio, pytest.mark.minutes(5), pytest.mark.alone]

PERIOD_S = 0.05
UP_LIMIT_S = 600.0
"""Each process starts twice, one after the other, beside customers: half a minute on a quiet machine."""
PATIENCE_S = 30.0
"""Of a customer, far beyond the router's own deadline: what matters is whether the answer is right, not when."""


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with fresh_stack("renewal", "--cells", "1", "--routers", "2") as running:
        yield running


def processes(stack: Stack) -> dict[str, Any]:
    return {row["name"]: row for row in stack.status()["processes"]}


def setting(pid: int, name: str) -> str | None:
    return psutil.Process(pid).environ().get(name)


def cell_processes(stack: Stack) -> dict[str, Any]:
    return {name: row for name, row in processes(stack).items() if row["kind"] in ("api", "worker", "relay")}


@dataclass
class Customers:
    """An open loop of orders and reads, over both routers in turn."""

    ports: list[int]
    token: str
    order: dict[str, str]
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    over: bool = False

    async def ask(self, number: int) -> None:
        port = self.ports[number % len(self.ports)]
        try:
            async with asyncio.timeout(PATIENCE_S):
                if number % 4 < 2:
                    got = await raw_http.ask(port, "GET", "/v1/account", token=self.token)
                else:
                    body = json.dumps(self.order).encode()
                    got = await raw_http.ask(
                        port, "POST", "/v1/orders", token=self.token, key=uuid.uuid4().hex, body=body
                    )
        except (OSError, asyncio.IncompleteReadError) as error:
            self.failures.append(f"request {number} got no answer: {error!r}")
            return
        self.answered += 1
        if got.status not in (200, 201, 202):
            self.failures.append(f"request {number}: {got}")

    async def keep_asking(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(1_000_000):
                await asyncio.sleep(max(0.0, began_s + number * PERIOD_S - loop.time()))
                if self.over:
                    return
                group.create_task(self.ask(number))


@asynccontextmanager
async def customers(stack: Stack) -> AsyncIterator[Customers]:
    """They ask while the block runs; afterwards each has got an answer."""
    environment = stack.env()
    routers = [environment["ROUTER_1_URL"], environment["ROUTER_2_URL"]]
    async with RouterClient(routers[0]) as router:
        made = await router.sign_up(f"renewal-{uuid.uuid4().hex}@customers.example", uuid.uuid4().hex)
        await made.deposit(1_000_000 * 1_000_000)
        price = (await made.call({200}, "GET", "/v1/symbols/AAPL")).body["reference_price"]
    stack.must("users", "set-profile", str(made.user_id), "professional", "--reason", "no rate limit")
    order = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": f"{float(price):.2f}"}
    load = Customers([urlsplit(url).port or 80 for url in routers], made.access_token, order)
    asking = asyncio.create_task(load.keep_asking())
    try:
        yield load
    finally:
        load.over = True
        await asking


async def test_a_change_of_settings_costs_no_request(own: Stack) -> None:
    before = processes(own)
    async with customers(own) as load:
        await anyio.to_thread.run_sync(lambda: own.must("up", "--risk-profile", "professional", timeout_s=UP_LIMIT_S))
    assert load.failures == []
    assert load.answered > 100
    after = processes(own)
    assert set(after) == set(before), "the stand-in is gone"
    for name, row in cell_processes(own).items():
        assert row["pid"] != before[name]["pid"]
        assert setting(row["pid"], "CELL_NEW_USER_PROFILE") == "professional", name
    untouched = {name for name, row in after.items() if row["kind"] not in ("api", "worker", "relay")}
    assert {name: after[name]["pid"] for name in untouched} == {name: before[name]["pid"] for name in untouched}
    assert all(after[name]["port"] == before[name]["port"] for name in before)
    await at_rest(own)


async def at_rest(stack: Stack) -> None:
    """What customers asked for went to the venue and to Kafka, whoever led meanwhile, and the books are right."""

    async def all_sent() -> bool:
        with psycopg.connect(stack.env()["CELL_1_DSN"]) as auditor:
            query = "select count(*) from brokerage.orders where status = 'funds_held'"
            return auditor.execute(query).fetchone() == (0,)

    await eventually(all_sent)

    async def all_published() -> bool:
        done = await anyio.to_thread.run_sync(lambda: stack.run("events", "count", "--cell", "cell-1"))
        return done.exit_code == 0

    await eventually(all_published, within_s=60.0)
    await anyio.to_thread.run_sync(lambda: stack.must("cells", "check", "cell-1"))


async def test_a_killed_up_is_finished_by_the_next(own: Stack) -> None:
    async with customers(own) as load:
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shardctl", "up", "--share-transfers", "approve", "--market-hours", "XNYS"),
            cwd=project_root(),
            env=own.shell_environment(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def stands_in() -> bool:
            return STAND_IN in await anyio.to_thread.run_sync(processes, own)

        await eventually(stands_in, within_s=120.0)
        command.send_signal(signal.SIGKILL)
        await command.wait()
        await anyio.to_thread.run_sync(lambda: own.must("up", timeout_s=UP_LIMIT_S))
    assert load.failures == []
    assert STAND_IN not in processes(own)
    for name, row in cell_processes(own).items():
        assert setting(row["pid"], "CELL_SHARE_TRANSFERS") == "approve", name
    assert setting(processes(own)["exchange"]["pid"], "EXCHANGE_MARKET_HOURS") == "XNYS"
    own.must("doctor")


async def test_settings_that_do_not_work_change_nothing(own: Stack) -> None:
    before = {name: row["pid"] for name, row in processes(own).items()}
    assert own.state_dir is not None
    backend = catalog.open_backend("", own.name, own.state_dir)
    assert isinstance(backend, LocalBackend)
    renewal = await backend._renewal()
    api = renewal.processes["cell-1-api-1"]
    wrong = replace(api, environment={**api.environment, "CELL_POSTGRES__DSN": "postgresql://nobody@127.0.0.1:1/x"})
    redirected: list[Addresses] = []

    async def redirect(addresses: Addresses) -> None:
        redirected.append(addresses)

    with pytest.raises(BackendError, match=r"cell-1-api-1 was not renewed and serves as before"):
        await replace(renewal, processes={**renewal.processes, api.name: wrong}).renew(api.name, 15.0, redirect)
    assert redirected == []
    assert {name: row["pid"] for name, row in processes(own).items()} == before
    own.must("doctor")


async def test_a_router_takes_other_settings_on_its_own_socket(own: Stack) -> None:
    assert own.state_dir is not None
    backend = catalog.open_backend("", own.name, own.state_dir)
    assert isinstance(backend, LocalBackend)
    renewal = await backend._renewal()
    router = renewal.processes["router-2"]
    other = replace(router, environment={**router.environment, "ROUTER_ACCESS_LOG__ONE_IN": "7"})
    pid = processes(own)["router-2"]["pid"]

    async def redirect(_: Addresses) -> None:
        raise AssertionError("no customer's way changes")

    async with customers(own) as load:
        await replace(renewal, processes={**renewal.processes, router.name: other}).renew(router.name, 60.0, redirect)
        assert setting(pid, "ROUTER_ACCESS_LOG__ONE_IN") == "7"
        await anyio.to_thread.run_sync(
            lambda: own.must("up", timeout_s=UP_LIMIT_S)
        )  # it runs otherwise than planned, so it is put back
    assert setting(pid, "ROUTER_ACCESS_LOG__ONE_IN") is None
    assert processes(own)["router-2"]["pid"] == pid
    assert load.failures == []


async def test_a_stopped_process_starts_as_planned(own: Stack) -> None:
    assert own.state_dir is not None
    backend = catalog.open_backend("", own.name, own.state_dir)
    assert isinstance(backend, LocalBackend)
    relay = next(process for process in await backend.plan() if process.name == "cell-1-relay")
    write_launch(replace(relay, environment={**relay.environment, "CELL_NEW_USER_PROFILE": "retail"}), backend.folder)
    await backend.stop_processes((relay.name,))
    await backend.start((relay.name,))
    await backend.await_ready((relay.name,), 60.0)
    assert await backend.outdated() == ()
    assert setting(processes(own)[relay.name]["pid"], "CELL_NEW_USER_PROFILE") == "professional"


def test_a_process_that_comes_back_by_itself_has_its_settings(own: Stack) -> None:
    worker = processes(own)["cell-1-worker"]["pid"]
    os.kill(worker, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(worker)] if psutil.pid_exists(worker) else [], timeout=10)
    own.must("up")
    again = processes(own)["cell-1-worker"]["pid"]
    assert again != worker
    assert setting(again, "CELL_SHARE_TRANSFERS") == "approve"


def test_the_launch_files_are_for_their_owner_only(own: Stack) -> None:
    assert own.state_dir is not None
    files = list((Path(own.state_dir) / own.name / "run" / "launch").glob("*.json"))
    assert len(files) >= 6
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
