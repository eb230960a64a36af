"""`shardctl cells reconcile`: equal after trading, red with the order's name when the venue's books say otherwise."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.backends.local.folders import StackFolder
from loadtests.client import Customer, RouterClient
from loadtests.figures import from_wire
from shardctl.settings import read_settings
from tests.support.eventually import eventually
from tests.support.stack import Stack

pytestmark = pytest.mark.anyio


async def filled_order(customer: Customer) -> str:
    order = (await customer.place({"symbol": "AAPL", "side": "buy", "type": "market", "qty": "3"})).body

    async def is_filled() -> bool:
        return bool((await customer.order(order["order_id"]))["status"] == "filled")

    await eventually(is_filled)
    return str(order["order_id"])


@contextmanager
def venue_says(stack: Stack, order_id: str, more_qty: int) -> Iterator[None]:
    """The exchange's own log with another quantity for one order, and back."""
    folder = StackFolder((stack.state_dir or read_settings().state_root) / stack.name)
    log = sqlite3.connect(folder.data("exchange") / "exchange.sqlite3", timeout=30.0)
    change = "update orders set cum_qty = cum_qty + ? where cl_ord_id = ?"
    try:
        with log:
            assert log.execute(change, (more_qty, order_id)).rowcount == 1
        yield
    finally:
        with log:
            log.execute(change, (-more_qty, order_id))
        log.close()


async def test_a_cell_is_equal_to_the_venue_until_the_venue_says_otherwise(stack: Stack) -> None:
    async with RouterClient(stack.env()["ROUTER_URL"]) as router:
        await router.must_answer()
        customer = await router.sign_up(f"{secrets.token_hex(8)}@customers.example", secrets.token_urlsafe(12))
        await customer.deposit(100_000_000_000)
        order_id = await filled_order(customer)
        assert from_wire((await customer.account())["cash"]) < 100_000_000_000
    cell = stack.must("users", "locate", str(customer.user_id), "--json").json()["cell"]

    run = stack.must("cells", "reconcile", cell, "--json").json()
    assert (run["verdict"], run["found"]) == ("equal", [])
    assert run["venue"]["asked"]
    assert run["venue"]["compared"] >= 1
    assert run["events"]["order_records"] >= run["events"]["order_events"] > 0
    assert {total["account"] for total in run["totals"]} >= {"bank", "cash", "clearing", "shares"}

    with venue_says(stack, order_id, 1_000_000):
        found = stack.run("cells", "reconcile", cell)
        assert found.exit_code == 1
        assert "venue" in found.stderr
        assert order_id in found.stdout
        assert "another quantity is filled" in found.stdout
        assert stack.run("doctor").exit_code == 1
    kept = stack.must("cells", "reconciliations", cell, "-n", "2", "--json").json()
    assert [item["verdict"] for item in kept] == ["different", "equal"]
    assert kept[0]["venue"]["sample"][0]["order_id"] == order_id
    assert kept[1]["run_id"] == run["run_id"]

    everything = stack.must("cells", "reconcile", "--all", "--json").json()
    assert {item["verdict"] for item in everything} == {"equal"}
    assert f"reconciliation of {cell}: equal" in stack.must("doctor").stdout


async def test_an_account_that_owes_nothing_is_not_restricted_and_young_history_stays(stack: Stack) -> None:
    async with RouterClient(stack.env()["ROUTER_URL"]) as router:
        await router.must_answer()
        customer = await router.sign_up(f"{secrets.token_hex(8)}@customers.example", secrets.token_urlsafe(12))
    user_id = str(customer.user_id)
    lifted = stack.must("users", "unrestrict", user_id, "--reason", "looked at it", "--json").json()
    assert lifted == {"user_id": user_id, "restricted": False, "lifted": False}
    done = stack.must("cells", "archive", "--all", "--reason", "a test", "--json").json()
    assert {(totals["entries"], totals["events"]) for totals in done} == {(0, 0)}
