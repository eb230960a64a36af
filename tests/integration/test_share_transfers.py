"""Shares from another broker wait for an operator, who approves or refuses them once and says why."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.settings import PostgresSettings
from infra.runtime.sql_files import read_sql
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.operator_tokens import bearer

CONFIRMED = "the agent confirmed"
pytestmark = pytest.mark.anyio

Answer = tuple[int, Any]


@dataclass
class Desk:
    """One app server with the default settings, a customer, and an operator."""

    app: CellApp
    keys: Path
    root: psycopg.AsyncConnection[Any]
    user_id: uuid.UUID

    async def customer(
        self, method: str, path: str, body: object = None, *, key: str | None = None, user_id: uuid.UUID | None = None
    ) -> Answer:
        signer = RouteTokenSigner(load_key_ring(self.keys / ROUTE_FILE))
        token = signer.sign(
            user_id=user_id or self.user_id, cell_id="cell-1", epoch=1, expires_at_s=int(time.time()) + 60
        )
        headers = {"X-Route-Token": token, "X-Idempotency-Key": key or uuid.uuid4().hex}
        status, _, said = await ask_asgi(self.app.customer, method, path, body, headers=headers)
        return status, said

    async def operator(
        self, method: str, path: str, body: object = None, *, role: str = "operator", why: str | None = CONFIRMED
    ) -> Answer:
        headers = bearer(self.keys, "cell-1", method, f"/operator/v1{path}", role, subject="maria", why=why)
        status, _, said = await ask_asgi(self.app.operator, method, f"/operator/v1{path}", body, headers=headers)
        return status, said

    async def bring(self, qty: str = "10", unit_cost: str = "95.20", *, key: str | None = None) -> dict[str, Any]:
        body = {"symbol": "AAPL", "qty": qty, "unit_cost": unit_cost}
        status, transfer = await self.customer("POST", "/v1/share-transfers", body, key=key)
        assert status == 201, transfer
        assert isinstance(transfer, dict)
        return transfer

    async def decide(
        self, verb: str, transfer_id: object, *, role: str = "operator", why: str = CONFIRMED, **more: object
    ) -> Answer:
        path = f"/users/{more.pop('user_id', self.user_id)}/share-transfers/{transfer_id}/{verb}"
        return await self.operator("POST", path, more or None, role=role, why=why)

    async def positions(self) -> list[tuple[str, str]]:
        _, page = await self.customer("GET", "/v1/positions")
        return [(item["qty"], item["cost_basis"]) for item in page["items"]]

    async def entries(self) -> list[dict[str, Any]]:
        _, page = await self.customer("GET", "/v1/ledger?direction=asc")
        items: list[dict[str, Any]] = page["items"]
        return items

    async def state(self, transfer_id: object) -> Any:
        status, transfer = await self.customer("GET", f"/v1/share-transfers/{transfer_id}")
        assert status == 200, transfer
        return transfer

    async def both_wait(self) -> bool:
        """Do two calls wait for a lock in this database?"""
        await self.root.execute("select pg_stat_clear_snapshot()")
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        return await (await self.root.execute(waiting)).fetchone() == (2,)

    async def set_owner(self, state: str) -> None:
        await self.root.execute(
            "update brokerage.users set owner_state = %s, lease_ends_at = null, forward_cell = 'cell-2', "
            "forward_epoch = 9 where user_id = %s",
            [state, self.user_id],
        )


@pytest.fixture
async def desk(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[Desk]:
    generate_key_files(tmp_path)
    postgres = PostgresSettings(dsn=cell_database.service_dsn, lock_timeout_ms=30_000, statement_timeout_ms=60_000)
    app = create_app(CellSettings(name="cell-1", postgres=postgres, keys_dir=tmp_path))
    async with (
        app.running(),
        await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as root,
    ):
        await root.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        desk = Desk(app, tmp_path, root, uuid.uuid4())
        account = {"email": "a@example.com", "password": "correct horse"}
        assert (await desk.customer("POST", "/internal/v1/accounts", account))[0] == 201
        yield desk
        for check in read_sql("cell", "checks"):
            assert await (await root.execute(check.text)).fetchall() == [], check.name


async def test_what_waits_is_posted_when_an_operator_approves_it_and_not_before(desk: Desk) -> None:
    transfer = await desk.bring(key="k")
    transfer_id = transfer["transfer_id"]
    assert (transfer["status"], await desk.positions(), await desk.entries()) == ("pending", [], [])
    status, waiting = await desk.operator("GET", "/share-transfers", role="viewer")
    assert status == 200
    assert [(row["transfer_id"], row["user_id"], row["qty"]) for row in waiting["items"]] == [
        (transfer_id, str(desk.user_id), "10.000000")
    ]
    outbox = "select count(*) from brokerage.outbox where entry_seq is not null"
    assert await (await desk.root.execute(outbox)).fetchall() == [(0,)]

    status, done = await desk.decide("approve", transfer_id)
    assert (status, done["status"], done["changed"]) == (200, "accepted", True)
    assert (done["decided_by"], done["reason"]) == ("maria", CONFIRMED)
    assert await desk.positions() == [("10.000000", "952.000000")]
    (entry,) = await desk.entries()
    assert (entry["entry_id"], entry["kind"]) == (transfer_id, "share_transfer")
    assert datetime.fromisoformat(entry["occurred_at"]) == datetime.fromisoformat(done["decided_at"])
    assert await (await desk.root.execute(outbox)).fetchall() == [(1,)], "published as any other entry"
    state = await desk.state(transfer_id)
    assert (state["status"], state["created_at"]) == ("accepted", transfer["created_at"])
    assert datetime.fromisoformat(state["decided_at"]) > datetime.fromisoformat(state["created_at"])
    assert "reason" not in state, "an operator's words are not the customer's"
    assert (await desk.operator("GET", "/share-transfers"))[1]["items"] == []
    assert await desk.bring(key="k") == transfer, "a replay answers as the first time"
    sale = {"symbol": "AAPL", "side": "sell", "type": "limit", "qty": "10", "limit_price": "101"}
    sold = await desk.customer("POST", "/v1/orders", sale)
    assert sold[0] == 201 or sold[1]["code"] == "MARKET_CLOSED"


async def test_what_is_refused_is_never_posted(desk: Desk) -> None:
    transfer_id = (await desk.bring())["transfer_id"]
    status, done = await desk.decide("refuse", transfer_id)
    assert (status, done["status"], done["changed"]) == (200, "refused", True)
    assert (await desk.positions(), await desk.entries()) == ([], [])
    assert (await desk.state(transfer_id))["status"] == "refused"
    assert (await desk.operator("GET", "/share-transfers"))[1]["items"] == []
    assert (await desk.decide("approve", transfer_id))[1]["code"] == "TRANSFER_DECIDED"


@pytest.mark.parametrize(("first", "second"), [("approve", "refuse"), ("refuse", "approve")])
async def test_a_decision_is_repeated_without_harm_and_never_changed(desk: Desk, first: str, second: str) -> None:
    transfer_id = (await desk.bring())["transfer_id"]
    _, done = await desk.decide(first, transfer_id)
    books = await desk.positions(), await desk.entries()
    status, again = await desk.decide(first, transfer_id, why="another word")
    assert (status, again) == (200, {**done, "changed": False}), "the first words are kept"
    status, problem = await desk.decide(second, transfer_id)
    assert (status, problem["code"], problem["transfer_status"]) == (409, "TRANSFER_DECIDED", done["status"])
    assert (await desk.positions(), await desk.entries()) == books


@pytest.mark.parametrize("verbs", [("approve", "approve"), ("approve", "refuse"), ("refuse", "refuse")])
async def test_two_operators_at_once_decide_once(desk: Desk, verbs: tuple[str, str]) -> None:
    """Both calls wait for the customer's row, which somebody else holds, and then go one after the other."""
    transfer_id = (await desk.bring())["transfer_id"]
    async with desk.root.transaction():
        await desk.root.execute("select from brokerage.users where user_id = %s for update", [desk.user_id])
        calls = [asyncio.create_task(desk.decide(verb, transfer_id)) for verb in verbs]
        await eventually(desk.both_wait)
    answers = await asyncio.gather(*calls)
    assert sum(said.get("changed") is True for _, said in answers) == 1
    stands = (await desk.state(transfer_id))["status"]
    for verb, (status, said) in zip(verbs, answers, strict=True):
        agrees = stands == {"approve": "accepted", "refuse": "refused"}[verb]
        assert (status, said.get("status" if agrees else "code")) == (
            (200, stands) if agrees else (409, "TRANSFER_DECIDED")
        )
    assert len(await desk.entries()) == (stands == "accepted")


async def test_only_the_owner_of_the_customer_decides(desk: Desk) -> None:
    transfer_id = (await desk.bring())["transfer_id"]
    for state, status, code in (
        ("halted", 503, "USER_HALTED"),
        ("arriving", 421, "MISDIRECTED"),
        ("departed", 421, "MISDIRECTED"),
    ):
        await desk.set_owner(state)
        got, problem = await desk.decide("approve", transfer_id)
        assert (got, problem["code"]) == (status, code)
        shown = [row["transfer_id"] for row in (await desk.operator("GET", "/share-transfers"))[1]["items"]]
        assert shown == ([transfer_id] if state == "halted" else []), "a copy is not ours to decide about"
    assert (await desk.customer("GET", "/v1/share-transfers"))[0] == 421
    await desk.set_owner("active")
    assert await desk.entries() == []


async def test_who_may_decide_and_what_is_no_decision(desk: Desk) -> None:
    transfer_id = (await desk.bring())["transfer_id"]
    for role in ("viewer", "auditor"):
        assert (await desk.decide("approve", transfer_id, role=role))[0] == 403
    other = uuid.uuid4()
    account = {"email": "b@example.com", "password": "correct horse"}
    assert (await desk.customer("POST", "/internal/v1/accounts", account, user_id=other))[0] == 201
    for user_id, named, code in (
        (uuid.uuid4(), transfer_id, "USER_NOT_FOUND"), (other, transfer_id, "TRANSFER_NOT_FOUND"),
        (desk.user_id, uuid.uuid4(), "TRANSFER_NOT_FOUND"),
    ):  # fmt: skip
        status, problem = await desk.decide("approve", named, user_id=user_id)
        assert (status, problem["code"]) == (404, code)
    path = f"/users/{desk.user_id}/share-transfers/{transfer_id}/approve"
    for body in ({}, {"reason": "in the body"}, {"force": True}):
        assert (await desk.operator("POST", path, body))[0] == 422
    status, problem = await desk.operator("POST", path, why=None)
    assert (status, problem["code"]) == (400, "REASON_MISSING")
    assert (await desk.state(transfer_id))["status"] == "pending"
    assert (await desk.customer("GET", f"/v1/share-transfers/{transfer_id}", user_id=other))[0] == 404
    misspelled = transfer_id.replace("-", "")
    assert (await desk.customer("GET", f"/v1/share-transfers/{misspelled}"))[0] == 404


async def test_what_would_be_more_than_an_account_may_hold_goes_on_waiting(desk: Desk) -> None:
    large = "1000000000"
    first, second = [(await desk.bring(large, "600"))["transfer_id"] for _ in range(2)]
    assert (await desk.decide("approve", first))[0] == 200
    status, problem = await desk.decide("approve", second)
    assert (status, problem["code"]) == (422, "BALANCE_LIMIT")
    assert (await desk.state(second))["status"] == "pending"
    assert (await desk.decide("refuse", second))[0] == 200


async def test_lists_are_paged_in_the_order_of_coming(desk: Desk) -> None:
    made = [(await desk.bring(str(number)))["transfer_id"] for number in range(1, 6)]
    for path, ask in (("/v1/share-transfers?direction=asc&", desk.customer), ("/share-transfers?", desk.operator)):
        found: list[str] = []
        token: str | None = ""
        while token is not None:
            status, page = await ask("GET", f"{path}limit=2" + (f"&page_token={token}" if token else ""))
            assert status == 200, page
            found += [item["transfer_id"] for item in page["items"]]
            token = page["next_page_token"]
        assert found == made
    newest = (await desk.customer("GET", "/v1/share-transfers"))[1]["items"]
    assert [item["transfer_id"] for item in newest] == made[::-1]
