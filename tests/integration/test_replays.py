"""A repeat is answered from what was stored, in the very bytes of the first time; another request never is."""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.settings import PostgresSettings
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio

ORDER = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": "100.00"}
STOP = {"symbol": "AAPL", "side": "buy", "type": "stop", "qty": "1", "stop_price": "105"}
Asked = tuple[str, str, Mapping[str, str | None]]


@dataclass
class Customer:
    app: CellApp
    token: str
    database: TestDatabase

    async def ask(self, asked: Asked, key: str) -> tuple[int, bool, Any]:
        method, target, body = asked
        headers = {"X-Route-Token": self.token, "X-Idempotency-Key": key, "If-Match": "*", "X-Request-Id": "r"}
        status, told, said = await ask_asgi(self.app.customer, method, target, body, headers=headers)
        return status, told.get("idempotency-replayed") == "true", said

    def as_stored_before(self) -> None:
        """Every key as the release before stored it: 16 bytes."""
        with psycopg.connect(self.database.owner_dsn, autocommit=True) as owner:
            owner.execute("update brokerage.idempotency_keys set fingerprint = substr(fingerprint, 18)")


@pytest.fixture
async def customer(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[Customer]:
    generate_key_files(tmp_path)
    settings = CellSettings(
        name="cell-1",
        postgres=PostgresSettings(dsn=cell_database.service_dsn),
        keys_dir=tmp_path,
        share_transfers="accept",
        market_hours="always",
    )
    user_id = uuid.uuid4()
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        opening = "select open_account_v1(%s, 1, 'professional', 'a@example.com', null, 'x')"
        connection.execute(opening, [user_id])
    signer = RouteTokenSigner(load_key_ring(tmp_path / ROUTE_FILE))
    token = signer.sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=int(time.time()) + 200)
    app = create_app(settings)
    async with app.running():
        asked = Customer(app, token, cell_database)
        assert (await asked.ask(("POST", "/v1/deposits", {"amount": "5000"}), "first cash"))[0] == 400
        assert (await asked.ask(("POST", "/v1/deposits", {"amount": "5000"}), "first-cash"))[0] == 201
        yield asked


async def every_command(customer: Customer) -> list[tuple[str, Asked, int]]:
    """One of each kind: key, request, status."""
    resting = (await customer.ask(("POST", "/v1/orders", {**ORDER, "client_order_id": "a"}), "seed-1"))[2]
    other = (await customer.ask(("POST", "/v1/orders", {**ORDER, "client_order_id": "b"}), "seed-2"))[2]
    third = (await customer.ask(("POST", "/v1/orders", ORDER), "seed-3"))[2]
    assert [resting["status"], other["status"], third["status"]] == ["funds_held"] * 3
    return [
        ("limit", ("POST", "/v1/orders", ORDER), 201),
        ("named", ("POST", "/v1/orders", {**ORDER, "client_order_id": "null"}), 201),
        ("market", ("POST", "/v1/orders", {"symbol": "AAPL", "side": "buy", "type": "market", "notional": "50"}), 201),
        ("stop", ("POST", "/v1/orders", STOP), 201),
        ("refused", ("POST", "/v1/orders", {**ORDER, "qty": "1000000"}), 422),
        ("cash", ("POST", "/v1/deposits", {"amount": "12.5"}), 201),
        ("shares", ("POST", "/v1/share-transfers", {"symbol": "AAPL", "qty": "2", "unit_cost": "90"}), 201),
        ("no-such", ("POST", "/v1/share-transfers", {"symbol": "NOSUCH", "qty": "2", "unit_cost": "90"}), 422),
        ("patch", ("PATCH", f"/v1/orders/{third['order_id']}", {"qty": "2"}), 202),
        ("cancel", ("DELETE", f"/v1/orders/{resting['order_id']}", {}), 200),
        ("cancel-named", ("DELETE", "/v1/orders/by-client-order-id/b", {}), 200),
        ("cancel-nobody", ("DELETE", "/v1/orders/by-client-order-id/None", {}), 404),
    ]  # fmt: skip


@pytest.mark.parametrize("stored_before", [False, True], ids=["this form", "the form of the release before"])
async def test_every_command_is_replayed_as_it_was_answered(customer: Customer, stored_before: bool) -> None:
    first = {}
    commands = await every_command(customer)
    for key, asked, status in commands:
        first[key] = await customer.ask(asked, key)
        assert first[key][:2] == (status, False), first[key]
    if stored_before:
        customer.as_stored_before()
    for key, asked, status in commands:
        assert await customer.ask(asked, key) == (status, True, first[key][2]), key
    for key, _, _ in commands:  # nobody else's request is any of them
        for other_key, asked, _ in commands:
            if other_key != key:
                assert (await customer.ask(asked, key))[2]["code"] == "IDEMPOTENCY_KEY_REUSED", (key, other_key)


@pytest.mark.parametrize("stored_before", [False, True], ids=["this form", "the form of the release before"])
async def test_no_name_is_not_the_name_none(customer: Customer, stored_before: bool) -> None:
    status, _, nameless = await customer.ask(("POST", "/v1/orders", ORDER), "k")
    assert (status, nameless["client_order_id"]) == (201, None)
    status, _, named = await customer.ask(("POST", "/v1/orders", {**ORDER, "client_order_id": "None"}), "n")
    assert (status, named["client_order_id"]) == (201, "None")
    if stored_before:
        customer.as_stored_before()
    for key, body in (("k", {**ORDER, "client_order_id": "None"}), ("n", ORDER)):
        status, replayed, said = await customer.ask(("POST", "/v1/orders", body), key)
        assert (status, replayed, said["code"]) == (422, False, "IDEMPOTENCY_KEY_REUSED")
    assert (await customer.ask(("POST", "/v1/orders", {**ORDER, "client_order_id": None}), "k")) == (
        201,
        True,
        nameless,
    )


async def test_a_replay_shows_what_the_order_is_not_what_the_request_says(customer: Customer) -> None:
    """A fingerprint that fits is no proof: what is shown stands in the books, or nothing is."""
    _, _, order = await customer.ask(("POST", "/v1/orders", {**ORDER, "client_order_id": "mine"}), "k")
    other = {**ORDER, "qty": "2", "client_order_id": "other"}
    await customer.ask(("POST", "/v1/orders", other), "l")
    with psycopg.connect(customer.database.owner_dsn, autocommit=True) as owner:
        owner.execute(
            "update brokerage.idempotency_keys k set fingerprint = l.fingerprint "
            "from brokerage.idempotency_keys l where k.key = 'k' and l.key = 'l'"
        )
    status, _, said = await customer.ask(("POST", "/v1/orders", other), "k")
    assert (status, said["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert order["qty"] == "1.000000"


def test_a_server_of_the_release_before_and_one_of_this_know_each_others_keys(cell_database: TestDatabase) -> None:
    new, old, other = b"\x02" + b"n" * 16 + b"o" * 16, b"o" * 16, b"\x02" + b"m" * 16 + b"o" * 16
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as connection:

        def same(stored: bytes, asked: bytes) -> bool:
            row = connection.execute("select same_request_v1(%b, %b)", [stored, asked]).fetchone()
            assert row is not None
            return bool(row[0])

        assert same(new, new)
        assert same(old, new)
        assert same(new, old)
        assert same(old, old)
        assert not same(new, other)  # the older form is not asked where both know better
        assert not same(new, b"x" * 16)
        assert not same(b"x" * 16, new)
