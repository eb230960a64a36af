"""A user moves while the mover, the source or the target is killed at each named point, one at a time.

One stack of two cells serves the file, and one customer, who is moved to and fro while they read and repeat an order.
However it is hit, the move ends by itself: exactly one cell owns the customer, their books are what they were, the map
follows, and their next order goes through. A point that was never met fails its test. Five minutes, eight on a
busy machine.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from cell.move import controller as cell_points
from loadtests.client import Customer, RetryLimits, RouterClient
from shardctl.moves import driver
from shardctl.operations.kinds.users_moved import moved_users
from tests.support.eventually import eventually
from tests.support.persistent_control import PersistentControl
from tests.support.stack import Stack, fresh_stack
from tests.support.windows import Windows

pytestmark = [pytest.mark.anyio, pytest.mark.minutes(6)]
MOVER = tuple(point for point in driver.POINTS if point != driver.RELEASED)
CELLS = (
    cell_points.BEGUN, cell_points.LOADED, cell_points.HALTED, cell_points.DEPARTED, cell_points.ACTIVATED,
)  # fmt: skip
BUY = {"symbol": "AAPL", "side": "buy", "type": "market", "qty": "1", "time_in_force": "day"}
RESUMED_S = 90.0
"""For the restart of a killed process on a busy machine, the lease of a killed leader (15 s), and the move itself."""
INSISTING = RetryLimits(attempts=60, total_s=RESUMED_S)
"""A customer outlasts the restart of an app server."""


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    return Windows(tmp_path_factory.mktemp("windows"), (*driver.POINTS, *CELLS))


@pytest.fixture(scope="module")
def own(windows: Windows) -> Iterator[Stack]:
    environment = {"FAULT_POINTS": windows.fault_points}
    with fresh_stack("move-kills", "--cells", "2", environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def control(own: Stack) -> PersistentControl:
    return PersistentControl(own.folder.control_socket)


@pytest.fixture(scope="module")
def known(own: Stack) -> dict[str, Any]:
    """Who the customer is, once they have signed up."""
    return {}


@pytest.fixture
async def customer(own: Stack, known: dict[str, Any]) -> AsyncIterator[Customer]:
    """The same one in every test, wherever they are by now."""
    email, password = f"{secrets.token_hex(6)}@customers.example", "correct horse battery"
    async with RouterClient(own.env()["ROUTER_URL"], limits=INSISTING) as router:
        await router.must_answer()
        if not known:
            made = await router.sign_up(email, password)
            await made.deposit(10_000_000_000)
            known.update(email=email, password=password, access_token=made.access_token, user_id=made.user_id)
        customer = Customer.known(router, **known)
        await customer.account()
        yield customer


async def filled(customer: Customer, key: str) -> str:
    order_id = str((await customer.place(BUY, key=key)).body["order_id"])

    async def is_filled() -> bool:
        return bool((await customer.order(order_id))["status"] == "filled")

    await eventually(is_filled)
    return order_id


async def books(customer: Customer) -> Any:
    orders = await customer.items("/v1/orders", {"direction": "asc"})
    ledger = await customer.items("/v1/ledger", {"direction": "asc"})
    return await customer.account(), orders, ledger


@asynccontextmanager
async def insisting(customer: Customer, key: str, order_id: str) -> AsyncIterator[None]:
    """They read and repeat all the time; an answer that is another one than the first fails the test."""
    ends = asyncio.Event()

    async def insist() -> None:
        while not ends.is_set():
            again = await customer.place(BUY, key=key)
            assert (again.replayed, again.body["order_id"]) == (True, order_id)
            await customer.account()

    task = asyncio.create_task(insist())
    try:
        yield
    finally:
        ends.set()
        await task


def begin(control: PersistentControl, user: str, to: str) -> int:
    body = {
        "kind": "users.move", "arguments": {"users": [user], "to": to}, "reason": "a drill",
        "idempotency_key": secrets.token_hex(8),
    }  # fmt: skip
    return int(control.post("/v1/operations", body)["operation_id"])


async def owners(own: Stack, user: str) -> dict[str, str]:
    """By cell, as its database says."""
    states = {}
    for name, dsn in own.env().items():
        if name.startswith("CELL_") and name.endswith("_DSN"):
            reader = await asyncio.to_thread(
                own_row, dsn, "select owner_state from brokerage.users where user_id = %s", user
            )
            states[name.removesuffix("_DSN").lower().replace("_", "-")] = reader
    return {cell: state for cell, state in states.items() if state is not None}


def own_row(dsn: str, query: Any, user: str) -> str | None:
    with psycopg.connect(dsn) as reader:
        row = reader.execute(query, [user]).fetchone()
    return None if row is None else str(row[0])


@pytest.mark.parametrize("point", [*MOVER, *CELLS])
async def test_killed_at(
    own: Stack, control: PersistentControl, windows: Windows, customer: Customer, point: str
) -> None:
    user, key = str(customer.user_id), secrets.token_hex(8)
    order_id = await filled(customer, key)
    before, source = await books(customer), str(customer.cell)
    target = {"cell-1": "cell-2", "cell-2": "cell-1"}[source]
    windows.open(point)
    async with insisting(customer, key, order_id):
        number = await asyncio.to_thread(begin, control, user, target)
        await windows.met(point)
        found = await asyncio.to_thread(control.ended, number)
    assert (found["state"], found["exit_code"]) == ("succeeded", 0), found
    assert await owners(own, user) == {source: "departed", target: "active"}
    assert await books(customer) == before
    assert customer.cell == target
    assert moved_users(found["steps"])[0]["stayed"] is None
    assert (await asyncio.to_thread(own.must, "users", "locate", user, "--json")).json()["cell"] == target
    await asyncio.to_thread(own.must, "users", "receipt", str(number))
    await asyncio.to_thread(own.must, "users", "verify", user)
    await filled(customer, secrets.token_hex(8))


async def test_killed_while_letting_go(
    own: Stack, control: PersistentControl, windows: Windows, customer: Customer
) -> None:
    """With an order at the venue the customer stays; the mover dies between the source's word and the target's."""
    user, source = str(customer.user_id), str(customer.cell)
    target = {"cell-1": "cell-2", "cell-2": "cell-1"}[source]
    price = (await customer.call({200}, "GET", "/v1/symbols/AAPL")).body["reference_price"]
    far = {**BUY, "type": "limit", "limit_price": f"{float(price) * 0.94:.2f}"}
    order_id = str((await customer.place(far)).body["order_id"])
    windows.open(driver.RELEASED)
    number = await asyncio.to_thread(begin, control, user, target)
    await windows.met(driver.RELEASED)
    found = await asyncio.to_thread(control.ended, number)
    assert (found["state"], found["exit_code"]) == ("failed", 1)
    assert "at the venue" in found["detail"]
    states = await owners(own, user)
    assert states.pop(target, "departed") == "departed"
    assert states == {source: "active"}
    await customer.cancel(order_id)
    await filled(customer, secrets.token_hex(8))


async def test_every_cell_is_right_afterwards(own: Stack) -> None:
    for cell in ("cell-1", "cell-2"):
        assert (await asyncio.to_thread(own.must, "cells", "check", cell, "--json")).json()["healthy"]
        counted = await asyncio.to_thread(own.must, "events", "count", "--cell", cell, "--json")
        assert counted.json()["equal"]
