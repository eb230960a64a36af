"""Passwords and sessions of a cell, by the calls of its router: two app servers on one real database."""

import asyncio
import hashlib
import json
import secrets
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.settings import PostgresSettings
from infra.security.keys import ROUTE_FILE, generate_key_files, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.asgi import ask_asgi
from tests.support.databases import TestDatabase
from tests.support.moved_metrics import assert_moved

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
GUESSES_PER_SOURCE = 10


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def token(self) -> str:
        assert self.status in (200, 201), self.body
        return str(self.body["refresh_token"])


@dataclass
class Desk:
    """What a router asks of the cell."""

    servers: list[CellApp]
    signer: RouteTokenSigner
    database: TestDatabase
    user_id: uuid.UUID = field(default_factory=uuid.uuid4)

    async def ask(
        self, target: str, body: dict[str, Any], *, user_id: uuid.UUID | None = None, server: int = 0
    ) -> Said:
        user_id = user_id or self.user_id
        token = self.signer.sign(user_id=user_id, cell_id="cell-1", epoch=1, expires_at_s=int(time.time()) + 60)
        return Said(
            *await ask_asgi(self.servers[server].customer, "POST", target, body, headers={"X-Route-Token": token})
        )

    async def open(self, password: str = PASSWORD, *, server: int = 0, source: str = "home", **others: Any) -> Said:
        body = {"email": "ann@example.com", "password": password, "source": source}
        return await self.ask("/internal/v1/accounts", body, server=server, **others)

    async def log_in(self, password: str, source: str | None = "home", **others: Any) -> Said:
        shown = {"refresh_token": others.pop("device", None)}
        return await self.ask("/internal/v1/sessions", {"password": password, "source": source, **shown}, **others)

    async def refresh(self, token: str, server: int = 0) -> Said:
        return await self.ask("/internal/v1/sessions/refresh", {"refresh_token": token}, server=server)

    def hashed(self) -> int:
        """Passwords hashed or verified so far, by both app servers."""
        return sum(
            int(float(line.rpartition(b" ")[2]))
            for server in self.servers
            for line in server.metrics.render().splitlines()
            if line.startswith(b"cell_passwords_hashed_total{")
        )

    def root(self, statement: Any, *arguments: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.superuser_dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def desk(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[Desk]:
    generate_key_files(tmp_path)
    settings = CellSettings(
        name="cell-1",
        postgres=PostgresSettings(dsn=cell_database.service_dsn),
        keys_dir=tmp_path,
        market_hours="always",
    )
    servers = [create_app(settings), create_app(settings)]
    async with servers[0].running(), servers[1].running():
        yield Desk(servers, RouteTokenSigner(load_key_ring(tmp_path / ROUTE_FILE)), cell_database)


# Sign-up.


async def test_two_passwords_at_once_make_one_account_and_only_one_is_told_so(desk: Desk) -> None:
    for _ in range(3):
        user_id = uuid.uuid4()
        answers = await asyncio.gather(
            *(desk.open(f"password {n % 2}", user_id=user_id, server=n // 2 % 2) for n in range(6))
        )
        taken = {n % 2 for n, said in enumerate(answers) if said.status == 201}
        assert len(taken) == 1
        assert Counter(said.status for said in answers) == {201: 3, 422: 3}
        assert {said.body["code"] for said in answers if said.status == 422} == {"IDEMPOTENCY_KEY_REUSED"}
        for said in answers:
            if said.status == 201:
                assert (await desk.ask(
                    "/internal/v1/sessions/refresh", {"refresh_token": said.token}, user_id=user_id
                )).status == 200  # fmt: skip
        assert (await desk.log_in(f"password {taken.pop()}", user_id=user_id)).status == 200


async def test_a_sign_up_that_is_sent_again_is_no_way_to_guess_without_end(desk: Desk) -> None:
    await desk.open()
    statuses = [(await desk.open(f"wrong guess {n}", source="attacker")).status for n in range(GUESSES_PER_SOURCE + 1)]
    assert statuses == [422] * GUESSES_PER_SOURCE + [429]


# Guesses.


async def test_an_unknown_account_costs_the_same_work_and_gets_the_same_answers(desk: Desk) -> None:
    await desk.open()
    told = []
    for user_id in (desk.user_id, uuid.uuid4()):
        before = desk.hashed()
        answers = [
            await desk.log_in("wrong horse", "attacker", user_id=user_id, server=n % 2)
            for n in range(GUESSES_PER_SOURCE + 2)
        ]
        told.append([(said.status, said.body["code"], said.body["detail"]) for said in answers])
        assert desk.hashed() - before == GUESSES_PER_SOURCE
        assert [said.status for said in answers] == [401] * GUESSES_PER_SOURCE + [429] * 2
        assert all(1 <= int(said.headers["retry-after"]) <= 60 for said in answers[-2:])
    assert told[0] == told[1]
    assert_moved(desk.servers[0].metrics.render(), "cell_passwords_hashed_total", "cell_logins_refused_total")


async def test_after_many_guesses_the_right_password_has_to_wait_too(desk: Desk) -> None:
    await desk.open()
    for n in range(150):
        await desk.log_in(f"wrong {n}", "attacker", server=n % 2)
    assert (await desk.log_in(PASSWORD, "attacker")).status == 429
    assert (await desk.log_in(PASSWORD, "home")).status == 200  # where the owner has been before
    desk.root("update brokerage.login_sources set whole_at = whole_at - interval '1 minute'")
    assert (await desk.log_in(PASSWORD, "attacker")).status == 200  # one guess a minute comes back


async def test_thousands_of_addresses_share_one_budget_and_do_not_shut_the_owner_out(desk: Desk) -> None:
    device = (await desk.open()).token
    assert (await desk.log_in("wrong horse", "address-0")).status == 401
    desk.root("update brokerage.login_sources set whole_at = whole_at + interval '97 minutes' where source = ''")
    for n in range(1, 3):  # a hundred in all
        assert (await desk.log_in("wrong horse", f"address-{n}", server=n % 2)).status == 401
    assert (await desk.log_in(PASSWORD, "one more address")).status == 429
    assert (await desk.log_in(PASSWORD, "home")).status == 200
    assert (await desk.log_in(PASSWORD, "a new address", device=device)).status == 200
    spent = device
    await desk.refresh(device)
    assert (await desk.log_in(PASSWORD, "yet another", device=spent)).status == 200
    forged = device[:-1] + ("A" if device[-1] != "A" else "B")
    for other in (forged, f"{desk.user_id.hex}.{uuid.uuid4().hex}.{secrets.token_urlsafe(32)}", "x"):
        assert (await desk.log_in(PASSWORD, "stranger", device=other)).status == 429


async def test_a_device_that_is_stolen_guesses_on_its_own_account_only(desk: Desk) -> None:
    device = (await desk.open()).token
    statuses = [(await desk.log_in("wrong", "thief", device=device)).status for _ in range(GUESSES_PER_SOURCE + 1)]
    assert statuses == [401] * GUESSES_PER_SOURCE + [429]
    assert (await desk.log_in(PASSWORD, "home")).status == 200


async def test_right_passwords_are_never_used_up(desk: Desk) -> None:
    await desk.open()
    for n in range(3):
        answers = await asyncio.gather(
            *(desk.log_in(PASSWORD, "office", server=i % 2) for i in range(GUESSES_PER_SOURCE))
        )
        assert {said.status for said in answers} == {200}, n


async def test_what_is_remembered_of_logins_is_bounded(desk: Desk) -> None:
    await desk.open()
    for n in range(40):
        desk.root(
            "select start_session_v1(%s, %s, %s, '', '1 day', %s, false, null)",
            desk.user_id, uuid.uuid4(), bytes(32), n.to_bytes(16),
        )  # fmt: skip
    assert desk.root("select count(*) from brokerage.login_sources where logged_in_at is not null") == [(32,)]
    await desk.log_in("wrong", "somewhere", user_id=uuid.uuid4())
    desk.root("select prune_login_sources_v1(1000)")
    assert desk.root("select count(*) from brokerage.login_sources") == [
        (34,)
    ]  # the guess: its own row and all strangers'
    desk.root("update brokerage.login_sources set kept_until = kept_until - interval '1 hour'")
    assert desk.root("select prune_login_sources_v1(1000)") == [(2,)]


async def test_a_crowd_at_one_account_is_refused_and_its_neighbour_is_not(desk: Desk) -> None:
    await desk.open()
    neighbour = uuid.uuid4()
    await desk.open(user_id=neighbour)
    crowd = [asyncio.create_task(desk.log_in("wrong", "attacker")) for _ in range(200)]
    await asyncio.sleep(0)
    said = await desk.log_in(PASSWORD, "home", user_id=neighbour)
    assert said.status == 200
    answers = await asyncio.gather(*crowd)
    assert set(Counter(said.status for said in answers)) == {401, 429}
    assert all("retry-after" in said.headers for said in answers if said.status == 429)


async def test_a_hash_from_before_passwords_had_a_normal_form_still_works_and_is_renewed(desk: Desk) -> None:
    await desk.open()
    typed = "cafe\u0301 horse"
    desk.root("update brokerage.customers set password_hash = %s", PasswordHasher(memory_cost=19 * 1024).hash(typed))
    assert (await desk.log_in("caf\u00e9 horse")).status == 401  # not what was typed then
    assert (await desk.log_in(typed)).status == 200
    assert (await desk.log_in("caf\u00e9 horse")).status == 200
    assert (await desk.log_in(typed)).status == 200


# Refreshing.


async def test_eight_refreshes_at_once_get_one_answer_and_its_token_lives(desk: Desk) -> None:
    first = (await desk.open()).token
    answers = await asyncio.gather(*(desk.refresh(first, server=n % 2) for n in range(8)))
    assert {said.status for said in answers} == {200}
    assert len({json.dumps(said.body) for said in answers}) == 1
    assert (await desk.refresh(answers[0].token)).status == 200


async def test_a_repeat_within_ten_seconds_gets_the_first_answer_also_when_that_is_spent(desk: Desk) -> None:
    first = (await desk.open()).token
    second = await desk.refresh(first)
    third = await desk.refresh(second.token)
    assert (await desk.refresh(first, server=1)).body == second.body
    assert (await desk.refresh(second.token, server=1)).body == third.body
    assert (await desk.refresh(third.token)).status == 200


@pytest.mark.parametrize(("age", "status"), [("9.5 seconds", 200), ("10 seconds", 401), ("-20 seconds", 401)])
async def test_ten_seconds_after_its_first_use_a_token_is_a_copy_and_its_family_ends(
    desk: Desk, age: str, status: int
) -> None:
    first = (await desk.open()).token
    second = await desk.refresh(first)
    desk.root("update brokerage.refresh_families set spent_at = array[clock_timestamp() - %s::interval]", age)
    again = await desk.refresh(first)
    assert again.status == status
    assert (await desk.refresh(second.token)).status == status
    if status == 200:
        assert again.token == second.token


async def test_a_token_spent_long_ago_ends_its_family_and_no_other(desk: Desk) -> None:
    first = (await desk.open()).token
    other = (await desk.log_in(PASSWORD)).token
    newest = first
    for _ in range(20):
        newest = (await desk.refresh(newest)).token
    assert (await desk.refresh(first)).status == 401
    assert (await desk.refresh(newest)).status == 401
    assert (await desk.refresh(other)).status == 200


async def test_an_unknown_secret_of_a_known_family_ends_nothing(desk: Desk) -> None:
    token = (await desk.open()).token
    family = token.rpartition(".")[0]
    made_up = [f"{family}.{secrets.token_urlsafe(32)}" for _ in range(3)]
    altered = [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        for place in (66, 80, 87, 88, 100, -1)
    ]
    for secret in (*made_up, *altered):
        said = await desk.refresh(secret)
        assert (said.status, said.body["code"]) == (401, "TOKEN_INVALID")
    assert (await desk.refresh(token)).status == 200


async def test_a_session_from_before_secrets_were_marked_goes_on(desk: Desk) -> None:
    await desk.open()
    family, secret = uuid.uuid4(), secrets.token_urlsafe(32)
    desk.root(
        "insert into brokerage.refresh_families (user_id, family_id, current_hash, created_at, expires_at) "
        "values (%s, %s, %s, now(), now() + interval '1 day')",
        desk.user_id, family, hashlib.sha256(secret.encode()).digest(),
    )  # fmt: skip
    old = f"{desk.user_id.hex}.{family.hex}.{secret}"
    following = (await desk.refresh(old)).token
    assert (await desk.refresh(old)).token == following
    assert (await desk.refresh(following)).status == 200
    desk.root("update brokerage.refresh_families set spent_at = array[spent_at[1], now() - interval '11 seconds']")
    assert (await desk.refresh(old)).status == 401
