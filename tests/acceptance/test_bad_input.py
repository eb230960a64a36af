"""Bad input through the front door: each gets a precise refusal, and nothing of it reaches the books."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import psycopg
import pytest

from loadtests.client import Customer, RouterClient, new_key
from tests.support.stack import Stack

pytestmark = pytest.mark.anyio

ORDER = {"symbol": "WMT", "side": "buy", "type": "limit", "qty": "1", "limit_price": "75.00"}
"""Of a symbol that no test plays a tape on; below its price, inside the price band."""


class Door:
    """The router, spoken to byte by byte where the polite client would not let us."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession, customer: Customer, other: Customer) -> None:
        self.environment = stack.env()
        self.url = self.environment["ROUTER_URL"]
        self.session = session
        self.customer = customer
        self.other = other

    async def send(
        self,
        method: str,
        path: str,
        *,
        raw: bytes | None = None,
        body: object = None,
        key: str | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, Any]:
        """Status, problem or answer, headers."""
        sent = {"Authorization": f"Bearer {token or self.customer.access_token}"}
        if key != "":
            sent["X-Idempotency-Key"] = key or new_key()
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        async with self.session.request(
            method, self.url + path, data=data, headers={**sent, **(headers or {})}
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, answer.headers

    def writes(self) -> int:
        """How often the customer's books were written to."""
        name = f"{(self.customer.cell or '').upper().replace('-', '_')}_DSN"
        with psycopg.connect(self.environment[name]) as connection:
            row = connection.execute(
                "select write_seq from brokerage.users where user_id = %s", [self.customer.user_id]
            ).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="module")
async def door(stack: Stack) -> AsyncIterator[Door]:
    async with RouterClient(stack.env()["ROUTER_URL"]) as router, aiohttp.ClientSession() as session:
        people = [await router.sign_up(f"{new_key()}@example.com", "correct horse battery") for _ in range(2)]
        for person in people:
            await person.deposit(200_000_000)
        yield Door(stack, session, *people)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"qty": "-1"}, 422, "INVALID_FIELD"),
        ({"qty": 0}, 422, "INVALID_FIELD"),
        ({"qty": "NaN"}, 400, "INVALID_FIELD"),
        ({"qty": "1e3"}, 422, "INVALID_FIELD"),
        ({"qty": "0.0000001"}, 422, "INVALID_FIELD"),
        ({"qty": 2**64}, 422, "INVALID_FIELD"),
        ({"qty": 10**400}, 422, "INVALID_FIELD"),
        ({"qty": None}, 400, "INVALID_FIELD"),
        ({"qty": [1]}, 422, "INVALID_FIELD"),
        ({"limit_price": "-75"}, 422, "INVALID_FIELD"),
        ({"limit_price": "75.001"}, 422, "INVALID_FIELD"),
        ({"limit_price": 2**64}, 422, "INVALID_FIELD"),
        ({"limit_price": "7.50"}, 422, "PRICE_OUT_OF_BAND"),
        ({"symbol": "NOSUCH"}, 422, "UNKNOWN_SYMBOL"),
        ({"symbol": "../x"}, 422, "INVALID_FIELD"),
        ({"side": "BUY"}, 422, "INVALID_FIELD"),
        ({"type": "trailing"}, 422, "INVALID_FIELD"),
        ({"limit_prize": "1"}, 422, "INVALID_FIELD"),
        ({"qty": "1000000"}, 422, "INSUFFICIENT_BUYING_POWER"),
        ({"side": "sell"}, 422, "INSUFFICIENT_SHARES"),
    ],
)
async def test_a_bad_order_is_refused_precisely(door: Door, change: dict[str, object], status: int, code: str) -> None:
    before = door.writes()
    got, problem, headers = await door.send("POST", "/v1/orders", body={**ORDER, **change})
    assert (got, problem["code"]) == (status, code), problem
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == headers["X-Request-Id"]
    if code == "INVALID_FIELD":
        assert problem["field"] == next(iter(change))
    assert door.writes() == before


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"qty": NaN}', 400),
        (b"\xff\xfe{}", 400),
        (b"[" * 10_000, 400),
        (b'"text"', 422),
        (b"{" + b" " * 70_000 + b"}", 413),
    ],
)
async def test_a_body_that_is_no_order_is_refused(door: Door, raw: bytes, status: int) -> None:
    got, problem, _ = await door.send("POST", "/v1/orders", raw=raw)
    assert got == status, problem


async def test_a_body_of_another_type_is_refused(door: Door) -> None:
    got, problem, _ = await door.send(
        "POST", "/v1/orders", body=ORDER, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert (got, problem["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/orders"), ("POST", "/v1/deposits"), ("DELETE", "/v1/orders/")]
)
async def test_a_write_without_a_key_is_refused(door: Door, method: str, path: str) -> None:
    path = path + str(uuid.uuid4()) if path.endswith("/") else path
    got, problem, _ = await door.send(method, path, body=None if method == "DELETE" else ORDER, key="")
    assert (got, problem["code"]) == (400, "MISSING_IDEMPOTENCY_KEY")


async def test_a_key_used_again_replays_or_is_refused(door: Door) -> None:
    key = new_key()
    first = await door.send("POST", "/v1/orders", body=ORDER, key=key)
    again = await door.send("POST", "/v1/orders", body={**ORDER, "qty": 1.0, "limit_price": 75}, key=key)
    assert first[0] == again[0] == 201
    assert first[1] == again[1]
    assert again[2]["Idempotency-Replayed"] == "true"
    other = await door.send("POST", "/v1/orders", body={**ORDER, "qty": "2"}, key=key)
    assert (other[0], other[1]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    elsewhere = await door.send("POST", "/v1/deposits", body={"amount": "1"}, key=key)
    assert (elsewhere[0], elsewhere[1]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_another_users_order_is_not_found(door: Door) -> None:
    _, order, _ = await door.send("POST", "/v1/orders", body=ORDER)
    path = f"/v1/orders/{order['order_id']}"
    for method, suffix in (("GET", ""), ("GET", "/events"), ("GET", "/executions"), ("DELETE", "")):
        got, problem, _ = await door.send(method, path + suffix, token=door.other.access_token)
        assert (got, problem["code"]) == (404, "ORDER_NOT_FOUND")


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.", "null"])
async def test_a_token_that_is_none_of_ours_is_refused(door: Door, token: str) -> None:
    got, problem, _ = await door.send("GET", "/v1/account", token=token)
    assert (got, problem["code"]) == (401, "TOKEN_INVALID")


async def test_a_token_with_a_changed_byte_is_refused(door: Door) -> None:
    head, payload, signature = door.customer.access_token.split(".")
    changed = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    got, problem, _ = await door.send("GET", "/v1/account", token=f"{head}.{payload}.{changed}")
    assert (got, problem["code"]) == (401, "TOKEN_INVALID")


async def test_a_cell_takes_nobody_without_the_routers_word(door: Door) -> None:
    url = door.environment["CELL_1_API_URL"]
    forged = f"k1.{'A' * 60}.{'A' * 43}"
    bearer = f"Bearer {door.customer.access_token}"
    for headers in ({}, {"X-Route-Token": forged}, {"Authorization": bearer}, {"X-Route-Token": "ä" * 9}):
        async with door.session.get(f"{url}/v1/account", headers=headers) as answer:
            assert answer.status == 401, headers
        async with door.session.post(
            f"{url}/v1/orders", json=ORDER, headers={**headers, "X-Idempotency-Key": new_key()}
        ) as answer:
            assert answer.status == 401, headers


async def test_a_clients_own_internal_headers_mean_nothing(door: Door) -> None:
    got, account, headers = await door.send(
        "GET", "/v1/account", headers={"X-Route-Token": "forged", "X-Cell": "cell-9", "Idempotency-Replayed": "true"}
    )
    assert (got, account["user_id"]) == (200, str(door.customer.user_id))
    assert headers.getall("X-Cell") == [door.customer.cell]
    assert "Idempotency-Replayed" not in headers


@pytest.mark.parametrize("path", ["/internal/v1/accounts", "/v1/../internal/v1/accounts", "/operator/v1/summary"])
async def test_the_inside_is_not_reachable_from_outside(door: Door, path: str) -> None:
    got, _, _ = await door.send("POST", path, body={"email": "a@b.c", "password": "correct horse battery"})
    assert got in (400, 404, 405)
