"""From a client's request id to an order, and along that order through every process, by the lines of their logs."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cell.order_log import EVERY_HUNDREDTH
from infra.backends.local.folders import StackFolder
from infra.backends.state_folder import state_root
from infra.topology.identifiers import parse_uuid
from loadtests.client import Customer, RouterClient
from tests.support.eventually import eventually
from tests.support.stack import Stack

pytestmark = pytest.mark.anyio

TERMS = {"symbol": "WMT", "side": "buy", "type": "limit", "qty": "1", "limit_price": "75.00"}
"""Below its price and inside the price band: it rests until it is cancelled."""
ORDERS_MAX = 2_000
"""One in a hundred leaves lines: that none of these does happens once in 500 million runs."""
REQUESTS_MAX = 1_000
"""A router logs one request in a hundred, counted: the routers of a stack together have logged one by then."""


@pytest.fixture
async def customer(stack: Stack) -> AsyncIterator[Customer]:
    async with RouterClient(stack.env()["ROUTER_URL"]) as router:
        made = await router.sign_up(f"{secrets.token_hex(8)}@customers.example", secrets.token_urlsafe(12))
        stack.must("users", "set-profile", str(made.user_id), "professional", "--reason", "no rate limit")
        await made.deposit(100_000_000_000)
        yield made


def lines(logs: Path, process: str, **about: str) -> list[Any]:
    """Of the processes so named, the lines that carry these fields."""
    found = []
    for log in sorted(logs.glob(f"{process}*.log*")):
        for text in log.read_text(errors="replace").splitlines():
            if text.startswith("{") and all(value in text for value in about.values()):
                line = json.loads(text)
                if all(line.get(name) == value for name, value in about.items()):
                    found.append(line)
    return found


async def test_a_request_id_finds_the_order_and_the_order_id_all_its_steps(stack: Stack, customer: Customer) -> None:
    logs = StackFolder((stack.state_dir or state_root()) / stack.name).logs
    cell, trace_id = customer.cell, secrets.token_hex(16)
    sent = {"Authorization": f"Bearer {customer.access_token}", "traceparent": f"00-{trace_id}-{trace_id[:16]}-01"}
    async with aiohttp.ClientSession(stack.env()["ROUTER_URL"]) as session:

        async def place(name: str) -> str:
            named = {"X-Request-Id": f"request-{name}", "X-Idempotency-Key": f"key-{name}", **sent}
            async with session.post("/v1/orders", json={**TERMS, "client_order_id": name}, headers=named) as answer:
                body = await answer.json()
                assert (answer.status, answer.headers["X-Request-Id"]) == (201, f"request-{name}"), body
                return str(body["order_id"])

        for number in range(ORDERS_MAX):
            name = f"{trace_id[:12]}-{number}"
            order_id = await place(name)
            if EVERY_HUNDREDTH.picks(parse_uuid(order_id)):
                break
            await customer.cancel(order_id)
        for _ in range(REQUESTS_MAX):
            if lines(logs, "router", request_id=f"request-{name}"):
                break
            assert await place(name) == order_id, "the same key, and so the same order"

    (at_router, *_) = lines(logs, "router", request_id=f"request-{name}")
    assert (at_router["trace_id"], at_router["user_id"]) == (trace_id, str(customer.user_id))
    (at_api, *_) = lines(logs, f"{cell}-api", request_id=f"request-{name}")
    ids = {"order_id": order_id, "client_order_id": name, "user_id": str(customer.user_id)}
    ids |= {"request_id": f"request-{name}", "trace_id": trace_id}
    assert {**at_api, **ids, "outcome": "accepted", "replayed": False} == at_api

    async def everywhere() -> bool:
        """Also the relay's line of the last event: it comes some milliseconds after that of the first."""
        return all(
            lines(logs, f"{cell}-{process}", order_id=order_id, **about)
            for process, about in (
                ("worker", {"event": "instruction sent"}),
                ("worker", {"event": "report stored"}),
                ("relay", {"event": "order event published", "status": "funds_held"}),
                ("relay", {"event": "order event published", "status": "routed"}),
            )
        )

    await eventually(everywhere)
    (sent_line,) = lines(logs, f"{cell}-worker", order_id=order_id, event="instruction sent")
    (stored, *_) = lines(logs, f"{cell}-worker", order_id=order_id, event="report stored")
    published = lines(logs, f"{cell}-relay", order_id=order_id, event="order event published")
    assert {**sent_line, **ids, "action": "submit"} == sent_line
    assert {**stored, **ids} == stored
    assert [line["status"] for line in published] == ["funds_held", "routed"]
    assert all({**line, **ids} == line for line in published)
    await customer.cancel(order_id)
