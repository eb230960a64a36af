"""`PATCH /v1/orders/{order_id}` through the router: versions, holds, chains, refusals, replays."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from loadtests.client import Answer, Customer, RouterClient
from loadtests.figures import from_wire, to_wire
from tests.support.eventually import eventually
from tests.support.stack import Stack

pytestmark = pytest.mark.anyio

CENT = 10_000
SHARE = 1_000_000


@pytest.fixture
async def customer(stack: Stack) -> AsyncIterator[Customer]:
    async with RouterClient(stack.env()["ROUTER_URL"]) as router:
        await router.must_answer()
        made = await router.sign_up(f"replace-{secrets.token_hex(6)}@customers.example", secrets.token_urlsafe(12))
        await made.deposit(100_000 * SHARE)
        yield made


async def resting_px(customer: Customer) -> int:
    """So far below the market that nothing fills, and inside any price band."""
    answer = await customer.call({200}, "GET", "/v1/symbols/AAPL")
    return from_wire(answer.body["reference_price"]) * 94 // 100 // CENT * CENT


async def rest(customer: Customer, px: int, qty: int = 10) -> dict[str, Any]:
    terms = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": str(qty), "limit_price": to_wire(px)}
    order_id = (await customer.place(terms)).body["order_id"]

    async def is_acknowledged() -> bool:
        return (await customer.order(order_id))["venue_order_id"] is not None

    await eventually(is_acknowledged)
    return await settled(customer, order_id)


async def settled(customer: Customer, order_id: str) -> dict[str, Any]:
    async def at_rest() -> bool:
        order = await customer.order(order_id)
        return order["status"] not in ("funds_held", "pending_replace", "pending_cancel")

    await eventually(at_rest)
    return await customer.order(order_id)


async def patch(
    customer: Customer, order_id: str, body: dict[str, object], *, etag: str | None, key: str | None = None
) -> Answer:
    return await customer.call(
        {202, 400, 404, 409, 412, 422},
        "PATCH",
        f"/v1/orders/{order_id}",
        body=body,
        key=key or secrets.token_hex(8),
        if_match=etag,
    )


async def test_a_resting_order_is_replaced_and_the_larger_hold_stands_meanwhile(customer: Customer) -> None:
    px = await resting_px(customer)
    old = await rest(customer, px)
    answer = await patch(customer, old["order_id"], {"qty": 15}, etag=old["etag"], key="one")
    assert answer.status == 202
    assert answer.body["replaces"] == old["order_id"]
    assert answer.body["order_id"] != old["order_id"]
    assert from_wire((await customer.account())["cash_held"]) == 15 * px
    new = await settled(customer, answer.body["order_id"])
    assert (new["status"], new["qty"], new["cum_qty"]) == ("routed", "15.000000", "0.000000")
    before = await customer.order(old["order_id"])
    assert (before["status"], before["replaced_by"], before["held"]) == ("replaced", new["order_id"], "0.000000")

    again = await patch(customer, old["order_id"], {"qty": "15"}, etag=old["etag"], key="one")
    assert (again.status, again.replayed, again.body) == (202, True, answer.body)
    other = await patch(customer, old["order_id"], {"qty": "16"}, etag=old["etag"], key="one")
    assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")

    smaller = await patch(customer, new["order_id"], {"qty": 3, "limit_price": to_wire(px - CENT)}, etag=new["etag"])
    last = await settled(customer, smaller.body["order_id"])
    assert from_wire((await customer.account())["cash_held"]) == from_wire(last["held"]) == 3 * (px - CENT)
    events = await customer.items(f"/v1/orders/{last['order_id']}/events", {"direction": "asc"})
    assert [event["to"] for event in events] == ["pending", "validated", "pending_replace", "routed"]


async def test_what_cannot_be_replaced_is_refused_by_name(customer: Customer) -> None:
    px = await resting_px(customer)
    order = await rest(customer, px)
    order_id, etag = order["order_id"], order["etag"]
    refused: tuple[tuple[dict[str, object], str | None, int, str], ...] = (
        ({"qty": 5}, None, 400, "PRECONDITION_REQUIRED"),
        ({"qty": 5}, "three", 400, "INVALID_FIELD"),
        ({"qty": 5}, '"0"', 412, "STALE_ETAG"),
        ({"qty": 5}, 'W/"x"', 412, "STALE_ETAG"),
        ({}, etag, 400, "INVALID_FIELD"),
        ({"colour": 5}, etag, 422, "INVALID_FIELD"),
        ({"qty": -5}, etag, 422, "INVALID_FIELD"),
        ({"stop_price": 5}, etag, 422, "INVALID_FIELD"),
        ({"time_in_force": "never"}, etag, 422, "INVALID_FIELD"),
        ({"qty": 10_000_000}, etag, 422, "INSUFFICIENT_BUYING_POWER"),
    )
    for body, tag, status, code in refused:
        answer = await patch(customer, order_id, body, etag=tag)
        assert (answer.status, answer.code) == (status, code), (body, tag, answer.body)
    nobodys = await patch(customer, "0190c0de-0000-7000-8000-000000000000", {"qty": 5}, etag="*")
    assert (nobodys.status, nobodys.code) == (404, "ORDER_NOT_FOUND")
    after = await customer.order(order_id)
    assert {**after, "updated_at": None} == {**order, "updated_at": None}, "a refusal changes nothing"
    await customer.cancel(order_id)
    await settled(customer, order_id)
    ended = await patch(customer, order_id, {"qty": 5}, etag="*")
    assert (ended.status, ended.code) == (409, "ORDER_NOT_OPEN")
