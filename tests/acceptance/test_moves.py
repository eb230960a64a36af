"""A customer moves to another cell while they read and retry: everything is there, once, and trading goes on.

Under a minute on a machine that does much else besides; most of it is the start of ten commands.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtests.client import Customer, RouterClient
from loadtests.figures import from_wire, to_wire
from tests.support.eventually import eventually
from tests.support.stack import Command, Stack

pytestmark = pytest.mark.anyio
SHARE = 1_000_000
CENT = 10_000
DEPOSIT = {"amount": "100000"}
BUY = {"symbol": "AAPL", "side": "buy", "type": "market", "qty": "3", "time_in_force": "day"}


@pytest.fixture
async def customer(stack: Stack) -> AsyncIterator[Customer]:
    async with RouterClient(stack.env()["ROUTER_URL"]) as router:
        await router.must_answer()
        yield await router.sign_up(f"moves-{secrets.token_hex(6)}@customers.example", secrets.token_urlsafe(12))


async def run(stack: Stack, *words: str) -> Command:
    return await asyncio.to_thread(stack.run, *words)


async def must(stack: Stack, *words: str) -> Any:
    done = await run(stack, *words, "--json")
    assert done.exit_code == 0, f"{words}: {done}"
    return done.json()


def other_than(cell: str | None) -> str:
    return {"cell-1": "cell-2", "cell-2": "cell-1"}[str(cell)]


async def everything(customer: Customer) -> dict[str, Any]:
    """All that a customer can see of themselves and that does not follow the market."""
    orders = await customer.items("/v1/orders", {"direction": "asc"})
    positions = await customer.positions()
    return {
        "account": await customer.account(),
        "orders": orders,
        "events": [await customer.items(f"/v1/orders/{order['order_id']}/events") for order in orders],
        "executions": [await customer.executions(order["order_id"]) for order in orders],
        "positions": [(row["symbol"], row["qty"], row["qty_held"], row["cost_basis"]) for row in positions],
        "ledger": await customer.items("/v1/ledger", {"direction": "asc"}),
    }


async def filled(customer: Customer, key: str) -> dict[str, Any]:
    placed = await customer.place(BUY, key=key)

    async def is_filled() -> bool:
        return bool((await customer.order(placed.body["order_id"]))["status"] == "filled")

    await eventually(is_filled)
    return dict(placed.body)


@asynccontextmanager
async def insisting(customer: Customer, key: str) -> AsyncIterator[list[str]]:
    """Reads, and repeats the customer's first deposit, without a pause; the cells that answered."""
    cells: list[str] = []
    ends = asyncio.Event()

    async def insist() -> None:
        while not ends.is_set():
            again = await customer.call({201}, "POST", "/v1/deposits", body=DEPOSIT, key=key)
            assert again.replayed
            await customer.account()
            cells.append(str(again.cell))

    task = asyncio.create_task(insist())
    try:
        yield cells
    finally:
        ends.set()
        await task


async def test_a_customer_who_reads_and_retries_moves_there_and_back(
    stack: Stack, customer: Customer, tmp_path: Path
) -> None:
    user, deposit_key, order_key = str(customer.user_id), secrets.token_hex(8), secrets.token_hex(8)
    deposited = await customer.call({201}, "POST", "/v1/deposits", body=DEPOSIT, key=deposit_key)
    placed = await filled(customer, order_key)
    await filled(customer, secrets.token_hex(8))
    before = await everything(customer)
    old, new = customer.cell, other_than(customer.cell)

    planned = await must(stack, "users", "move", user, "--to", new, "--reason", "test", "--dry-run")
    assert planned["preview"]["users"][0]["unfinished"] == {}
    assert planned["preview"]["rows"] >= len(before["ledger"])
    async with insisting(customer, deposit_key) as cells:
        done = await must(stack, "users", "move", user, "--to", new, "--reason", "closer")

        async def is_served_there() -> bool:
            return new in cells

        await eventually(is_served_there)
    (moved,) = done["users"]
    assert (moved["from"], moved["to"], moved["stayed"]) == (old, new, None)
    assert set(cells) == {old, new}
    assert cells == sorted(cells, key=lambda cell: cell != old), "never back to the source"

    assert await everything(customer) == before
    again = await customer.place(BUY, key=order_key)
    assert (again.replayed, again.body["order_id"], again.cell) == (True, placed["order_id"], new)
    replayed = await customer.call({201}, "POST", "/v1/deposits", body=DEPOSIT, key=deposit_key)
    assert (replayed.replayed, replayed.body) == (True, deposited.body)
    await filled(customer, secrets.token_hex(8))
    assert customer.cell == new

    number = str(done["operation_id"])
    receipts, keys = tmp_path / "receipts.json", tmp_path / "keys.json"
    receipts.write_text(json.dumps(await must(stack, "users", "receipt", number, "--user", user)))
    keys.write_text(json.dumps(await must(stack, "keys", "public")))
    (proven,) = await must(stack, "users", "receipt", "--verify", str(receipts), "--keys", str(keys))
    assert (proven["claims"]["reason"], proven["claims"]["pause_us"]) == ("closer", moved["pause_us"])
    attested = await must(stack, "users", "verify", user)
    assert attested["cell"] == new

    back = await must(stack, "users", "move-back", number, "--reason", "it was a test")
    assert [(each["from"], each["to"], each["stayed"]) for each in back["users"]] == [(new, old, None)]
    await filled(customer, secrets.token_hex(8))
    assert customer.cell == old
    history = await must(stack, "users", "history", user)
    assert [(move["from_cell"], move["to_cell"]) for move in history["moves"]] == [(new, old), (old, new)]
    for cell in (old, new):
        assert (await must(stack, "cells", "check", cell))["healthy"]


async def test_who_has_an_order_at_the_venue_or_is_held_stays_and_trades_on(stack: Stack, customer: Customer) -> None:
    user = str(customer.user_id)
    await customer.deposit(100_000 * SHARE)
    price = from_wire((await customer.call({200}, "GET", "/v1/symbols/AAPL")).body["reference_price"])
    far = {**BUY, "type": "limit", "limit_price": to_wire(price * 94 // 100 // CENT * CENT)}
    order_id = (await customer.place(far)).body["order_id"]
    old, new = customer.cell, other_than(customer.cell)
    move = ("users", "move", user, "--to", new, "--reason", "test")
    refused = await run(stack, *move, "--json")
    assert (refused.exit_code, "1 stayed" in refused.stderr, "at the venue" in refused.stderr) == (1, True, True)
    assert "1 orders at the venue" in refused.json()["users"][0]["stayed"]
    await customer.cancel(order_id)

    await must(stack, "users", "hold", user, "--reason", "court order 7")
    held = await run(stack, *move)
    assert (held.exit_code, "is held (by " in held.stderr, "court order 7" in held.stderr) == (1, True, True)
    await must(stack, "users", "unhold", user, "--reason", "lifted")
    here = await run(stack, "users", "move", user, "--to", str(old), "--reason", "test")
    assert (here.exit_code, "nothing to do" in here.stderr) == (1, True)
    await customer.deposit(SHARE)
    assert customer.cell == old
