"""`kill -9` of one process after another while customers of both cells trade.

The other cell never fails a request; nothing is lost or doubled: every order that was answered 201 is in the books
once, every key has one effect, the ledger checks are green and Kafka holds what the database holds. A kill on the order
path must be felt (a customer's retry, or a batch that the cell sent again); if it was not, it missed its window, and
the test fails.
"""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from loadtests.client import Customer, RetryLimits, RouterClient, new_key
from tests.support.stack import Stack

pytestmark = pytest.mark.anyio

CUSTOMERS_PER_CELL = 4
FLOW_BEFORE_S = 0.8
FLOW_AFTER_S = 1.5
REPAIR_LIMIT_S = 45.0
INSISTENT = RetryLimits(attempts=60, total_s=40.0)
NO_SECOND_CHANCE = RetryLimits(attempts=1, total_s=15.0)


@dataclass
class Trader:
    """One customer who places and cancels without pause, and remembers what was answered."""

    customer: Customer
    accepted: dict[str, str] = field(default_factory=dict)
    """client_order_id -> order_id"""
    requests: int = 0

    async def trade(self, until: asyncio.Event) -> None:
        number = 0
        while not until.is_set():
            number += 1
            name = f"{new_key()[:12]}-{number}"
            order = {
                "symbol": "WMT",  # no tape of another test is played on it
                "side": "buy",
                "type": "limit",
                "qty": "0.1",
                "limit_price": "75.00" if number % 3 else "77.50",  # all below the market, inside the price band
                "client_order_id": name,
            }
            answer = await self.customer.place(order)
            assert name not in self.accepted
            self.accepted[name] = answer.body["order_id"]
            self.requests += 1
            if number % 3 == 1:
                await self.customer.cancel(answer.body["order_id"])
                self.requests += 1


async def _traders(stack: Stack, router: RouterClient, cell: str) -> list[Trader]:
    """Customers of one cell, by signing up until enough landed there."""
    found: list[Trader] = []
    for number in range(40):
        customer = await router.sign_up(f"{new_key()}@example.com", "correct horse battery")
        if customer.cell == cell:
            await customer.deposit(1_000_000_000_000)
            found.append(Trader(customer))
        if len(found) == CUSTOMERS_PER_CELL:
            users = [str(trader.customer.user_id) for trader in found]
            stack.must("users", "set-profile", *users, "professional", "--reason", "many orders")
            return found
        assert number < 39, f"sign-up never chose {cell}"
    raise AssertionError


@pytest.fixture(scope="module")
async def trading(stack: Stack) -> AsyncIterator[tuple[list[Trader], list[Trader]]]:
    """Insistent customers of cell-1 and customers of cell-2 who take no second try."""
    url = stack.env()["ROUTER_URL"]
    async with RouterClient(url, limits=INSISTENT) as insistent, RouterClient(url, limits=NO_SECOND_CHANCE) as once:
        near = await _traders(stack, insistent, "cell-1")
        far = await _traders(stack, insistent, "cell-2")
        for trader in far:
            trader.customer.router = once
        yield near, far


async def _repaired(stack: Stack, before: dict[str, int], victim: str) -> None:
    deadline = time.monotonic() + REPAIR_LIMIT_S
    while True:
        rows = {row["name"]: row for row in (await asyncio.to_thread(stack.status))["processes"]}
        if rows[victim]["state"] == "running" and rows[victim]["pid"] != before[victim]:
            return
        assert time.monotonic() < deadline, f"{victim} was not repaired: {rows[victim]}"
        await asyncio.sleep(0.5)


async def _quiet(stack: Stack, cell: str) -> dict[str, Any]:
    """Until the cell's queues are empty."""
    deadline = time.monotonic() + REPAIR_LIMIT_S
    while True:
        done = await asyncio.to_thread(stack.run, "cells", "summary", cell, "--json")
        summary: dict[str, Any] = json.loads(done.stdout) if done.exit_code == 0 else {}
        names = ("outbox_pending", "inbox_pending", "instructions_pending")
        if summary and not any(summary[name] for name in names):
            return summary
        assert time.monotonic() < deadline, f"{cell} does not come to rest: {done.stdout} {done.stderr}"
        await asyncio.sleep(0.5)


def _in_the_books(dsn: str, trader: Trader) -> dict[str, str]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "select client_order_id, order_id::text from brokerage.orders where user_id = %s", [trader.customer.user_id]
        ).fetchall()
    return dict(rows)


def _felt(stack: Stack, trader: Trader) -> float:
    """Retries by clients, batches that the cell sent again or had no connection for, ever."""
    retries = sum(trader.customer.router.tally.retried.values())
    url = stack.env()["CELL_1_OPERATOR_URL"]
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    counted = ("cell_batches_resent_total{", "cell_batches_unconnected_total{")
    return retries + sum(float(line.split()[-1]) for line in lines if line.startswith(counted))


VICTIMS = [
    ("cell-1-api-1", True),
    ("cell-1-postgres", True),
    ("cell-1-worker", False),
    ("cell-1-relay", False),
    ("exchange", False),
    ("redis", False),
    ("kafka", False),
    ("control-postgres", False),
]


@pytest.mark.parametrize(("victim", "is_felt"), VICTIMS)
async def test_a_killed_process_costs_nothing(
    stack: Stack, trading: tuple[list[Trader], list[Trader]], victim: str, is_felt: bool
) -> None:
    near, far = trading
    pids = {row["name"]: row["pid"] for row in stack.status()["processes"]}
    felt_before = _felt(stack, near[0])
    until = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for trader in near + far:
            group.create_task(trader.trade(until))
        await asyncio.sleep(FLOW_BEFORE_S)
        far_before = sum(trader.requests for trader in far)
        os.kill(pids[victim], signal.SIGKILL)
        await asyncio.sleep(FLOW_AFTER_S)
        await _repaired(stack, pids, victim)
        until.set()
    assert sum(trader.requests for trader in far) > far_before, "the other cell went on trading"
    if is_felt:
        assert _felt(stack, near[0]) > felt_before, "the kill was not felt by anybody: it missed its window"

    await asyncio.gather(_nothing_is_lost(stack, "cell-1", near), _nothing_is_lost(stack, "cell-2", far))


async def _nothing_is_lost(stack: Stack, cell: str, traders: list[Trader]) -> None:
    """Every order that was accepted is in the books, no other is; the checks are green; Kafka = database."""
    await _quiet(stack, cell)
    checked, counted = await asyncio.gather(
        asyncio.to_thread(stack.run, "cells", "check", cell, "--json"),
        asyncio.to_thread(stack.run, "events", "count", "--cell", cell, "--json"),
    )
    assert checked.exit_code == 0, checked.stdout
    assert counted.json()["equal"], counted.stdout
    dsn = stack.env()[f"{cell.upper().replace('-', '_')}_DSN"]
    for trader in traders:
        assert await asyncio.to_thread(_in_the_books, dsn, trader) == trader.accepted
