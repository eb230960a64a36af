"""Sign-up over two databases, login and refresh: a real control database, scripted cells, raw clients."""

import asyncio
import hmac
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest

from infra.runtime.fault_points import FaultInjected, FaultPoints
from infra.security.keys import EMAIL_PEPPER_FILE, load_key_ring
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from router.sign_up import NewUser
from shardctl.shardmap.store import open_store
from tests.support.account_cell import AccountCell
from tests.support.databases import TestDatabase
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import Answer
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import answer

pytestmark = pytest.mark.anyio


class Scene:
    def __init__(self, router: RouterUnderTest, database: TestDatabase) -> None:
        self.router = router
        self.database = database
        self.cells = {name: AccountCell(cell) for name, cell in router.cells.items()}

    async def sign_up(self, email: str, key: str, password: str = "correct horse", name: str | None = None) -> Answer:
        body = json.dumps({"email": email, "password": password, "name": name}).encode()
        return await self.router.ask("POST", "/v1/users", key=key, body=body)

    async def tokens(self, **body: str) -> Answer:
        return await self.router.ask("POST", "/v1/tokens", body=json.dumps(body).encode())

    async def rows(self, statement: Any) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.database.superuser_dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement)
            return await cursor.fetchall() if cursor.description else []


@pytest.fixture
async def scene(tmp_path: Path, control_database: TestDatabase) -> AsyncIterator[Scene]:
    async with running_router(tmp_path, control_dsn=control_database.service_dsn) as router:
        async with open_store(control_database.owner_dsn) as store:
            await store.create_lineage()
            for name, cell in router.cells.items():
                await store.add_cell(Cell(CellId(name), api_urls=(cell.url,)), actor="test", reason="test")
            shard_map = await store.load()
        # The map file of another lineage served so far; a restart would take the control database's.
        router.router.watcher.watch.shard_map = None
        router.router.watcher._offer(shard_map, "control")
        yield Scene(router, control_database)


async def test_a_new_customer_gets_tokens_that_work_at_once(scene: Scene) -> None:
    got = await scene.sign_up("ann@example.com", "key-1")
    assert got.status == 201
    body = got.json()
    assert body["expires_in"] == 900
    cell_id = got.headers["x-cell"]
    account = await scene.router.ask("GET", "/v1/account", token=body["access_token"])
    assert account.json() == {"user_id": body["user_id"]}
    assert uuid.UUID(body["user_id"]) in scene.cells[cell_id].passwords
    assert await scene.rows("select state, cell_id from control.email_claims") == [("active", cell_id)]
    stored = await scene.rows("select encode(email_hash, 'escape'), idempotency_key from control.email_claims")
    assert "ann" not in str(stored)


async def test_the_same_key_and_body_is_a_replay_and_another_body_is_refused(scene: Scene) -> None:
    first = (await scene.sign_up("ann@example.com", "key-1")).json()
    again = await scene.sign_up(" Ann@Example.COM ", "key-1")
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json()["user_id"] == first["user_id"]
    assert again.json()["refresh_token"] != first["refresh_token"]
    for other in (
        await scene.sign_up("ann@example.com", "key-1", password="wrong horse"),
        await scene.sign_up("ann@example.com", "key-1", name="Ann"),
    ):
        assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    taken = await scene.sign_up("ANN@example.com", "key-2")
    assert (taken.status, taken.code, taken.json()["field"]) == (409, "EMAIL_TAKEN", "email")


async def test_a_key_is_its_persons_and_two_strangers_may_use_the_same(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.sign_up(f"{name}@example.com", "me-1") for name in ("ann", "bob", "eve")))
    assert [(said.status, said.headers.get("idempotency-replayed")) for said in answers] == [(201, None)] * 3
    assert len({said.json()["user_id"] for said in answers}) == 3


async def test_a_key_stands_for_its_sign_up_for_seven_days(scene: Scene) -> None:
    await scene.sign_up("ann@example.com", "key-1")
    for age, status in (("6 days 23 hours", 201), ("7 days", 409)):
        await scene.rows(f"update control.email_claims set activated_at = clock_timestamp() - interval '{age}'")
        assert (await scene.sign_up("ann@example.com", "key-1")).status == status


async def test_two_passwords_at_once_are_never_both_taken(scene: Scene) -> None:
    """Both reach the cell: the second comes while the first's account is being made."""
    cells, arrived, first_in = scene.cells.values(), 0, asyncio.Event()
    for cell in cells:

        async def behave(request: Any, writer: asyncio.StreamWriter, cell: AccountCell = cell) -> None:
            nonlocal arrived
            if request.target == "/internal/v1/accounts":
                arrived += 1
                if arrived == 1:
                    await first_in.wait()
                first_in.set()
            await cell.behave(request, writer)

        cell.cell.behave = behave
    answers = await asyncio.gather(
        *(scene.sign_up("ann@example.com", "key-1", password=f"password {n}") for n in range(2))
    )
    assert arrived == 2
    taken, refused = sorted(answers, key=lambda said: said.status)
    assert (taken.status, refused.status, refused.code) == (201, 422, "IDEMPOTENCY_KEY_REUSED")


async def test_two_spellings_of_an_email_are_one_account(scene: Scene) -> None:
    for n, (spelled, again) in enumerate(
        [
            ("Ann@Example.com", " aNN@example.COM "),
            ("J\u030costein@example.com", "\u01f0ostein@example.com"),  # only the small letter has a composed form
            ("\u01f0oseph@example.com", "J\u030cOSEPH@example.com"),
            ("e\u0301va@example.com", "\u00c9VA@example.com"),
            ("\uff45ve@example.com", "eve@example.com"),
            ("STRASSE@example.com", "stra\u00dfe@example.com"),
        ]
    ):
        user_id = (await scene.sign_up(spelled, f"key-{n}")).json()["user_id"]
        assert (await scene.sign_up(again, "another-key")).code == "EMAIL_TAKEN"
        login = await scene.tokens(grant_type="password", email=again, password="correct horse")
        account = await scene.router.ask("GET", "/v1/account", token=login.json()["access_token"])
        assert account.json()["user_id"] == user_id


async def test_characters_that_nobody_sees_make_no_account(scene: Scene) -> None:
    for seen in ("\u200b", "\u202e", "\x7f", "\x00", "\ufe0f"):
        for email in (f"a{seen}nn@example.com", f"ann@example.com{seen}", f"{seen}ann@example.com"):
            got = await scene.sign_up(email, "key-1")
            assert (got.status, got.json()["field"]) == (422, "email")
        got = await scene.sign_up("ann@example.com", "key-1", password=f"correct{seen}horse")
        assert (got.status, got.json()["field"]) == (422, "password")
    assert await scene.rows("select 1 from control.email_claims") == []


async def test_a_password_is_counted_in_characters_of_its_normal_form(scene: Scene) -> None:
    assert (await scene.sign_up("ann@example.com", "k", password="e\u0301" * 7)).status == 422
    assert (await scene.sign_up("ann@example.com", "k", password="e\u0301" * 8)).status == 201
    assert (await scene.sign_up("bob@example.com", "k", password="\u00e9" * 1_024)).status == 201
    assert (await scene.sign_up("dan@example.com", "k", password="e\u0301" * 1_024)).status == 201
    hidden = await scene.sign_up("eve@example.com", "k", name="Eve\u202e")
    assert (hidden.status, hidden.json()["field"]) == (422, "name")
    too_long = await scene.sign_up("eve@example.com", "k", password="\u00e9" * 1_025)
    assert too_long.status in (400, 422)


@pytest.mark.parametrize(
    ("claimed_as", "spelled", "others"),
    [
        (
            "j\u030costein@example.com",
            "J\u030costein@example.com",
            ["\u01f0ostein@example.com", "J\u030cOSTEIN@EXAMPLE.com"],
        ),
        ("a\u200bnn@example.com", "a\u200bnn@example.com", []),
        ("\uff41nn@example.com", "\uff41nn@example.com", ["\uff21nn@example.com"]),
    ],
)
async def test_accounts_made_under_the_earlier_form_are_found(
    scene: Scene, claimed_as: str, spelled: str, others: list[str]
) -> None:
    await scene.sign_up("ann@example.com", "key-1")
    pepper = load_key_ring(scene.router.keys / EMAIL_PEPPER_FILE).active_key
    then = hmac.digest(pepper, claimed_as.encode(), "sha256")
    mark = hmac.digest(then, b"POST /v1/users\nnull", "sha256")
    await scene.rows(f"update control.email_claims set email_hash = '\\x{then.hex()}', fingerprint = '\\x{mark.hex()}'")
    for email in (spelled, *others):
        login = await scene.tokens(grant_type="password", email=email, password="correct horse")
        assert login.status == 200, email
    for email in others:
        assert (await scene.sign_up(email, "key-2")).code == "EMAIL_TAKEN", email
        replay = await scene.sign_up(email, "key-1")
        assert (replay.status, replay.headers.get("idempotency-replayed")) == (201, "true")


async def test_two_accounts_that_one_email_has_from_before_each_find_their_own(scene: Scene) -> None:
    pepper = load_key_ring(scene.router.keys / EMAIL_PEPPER_FILE).active_key
    users = {}
    for n, form in enumerate(["j\u030co@example.com", "\u01f0o@example.com"]):
        users[form] = (await scene.sign_up(f"user{n}@example.com", "key")).json()["user_id"]
        then = hmac.digest(pepper, form.encode(), "sha256").hex()
        await scene.rows(f"update control.email_claims set email_hash = '\\x{then}' where user_id = '{users[form]}'")
    for spelled, form in (
        ("J\u030co@example.com", "j\u030co@example.com"),
        ("\u01f0o@example.com", "\u01f0o@example.com"),
    ):
        login = (await scene.tokens(grant_type="password", email=spelled, password="correct horse")).json()
        account = await scene.router.ask("GET", "/v1/account", token=login["access_token"])
        assert account.json()["user_id"] == users[form]


async def test_an_unknown_email_goes_the_same_way_as_a_known_one(scene: Scene) -> None:
    await scene.sign_up("ann@example.com", "key-1")
    said, went = [], []
    for cell in scene.cells.values():

        async def behave(request: Any, writer: asyncio.StreamWriter, cell: AccountCell = cell) -> None:
            went.append((cell.cell.cell_id, request.target, sorted(json.loads(request.body))))
            await cell.behave(request, writer)

        cell.cell.behave = behave
    for email in ("ann@example.com", *(f"nobody{n}@example.com" for n in range(12))):
        for _ in range(2):
            got = await scene.tokens(grant_type="password", email=email, password="wrong horse")
            document = got.json()
            document.pop("request_id")
            headers = {name for name in got.headers}
            said.append((got.status, document, headers))
    assert all(one == said[0] for one in said)
    assert {(target, tuple(fields)) for _, target, fields in went} == {
        ("/internal/v1/sessions", ("password", "refresh_token", "source"))
    }
    assert len(went) == 26
    assert {name for name, _, _ in went} == {"cell-1", "cell-2"}  # unknown ones are spread,
    assert went[2::2] == went[3::2]  # and each is always asked about in the same cell


async def test_a_cell_that_makes_guesses_wait_is_passed_on_with_the_time(scene: Scene) -> None:
    for cell in scene.cells.values():

        async def come_again(_: Any, writer: asyncio.StreamWriter) -> None:
            body = b'{"code":"RATE_LIMITED","detail":"too many logins","status":429}'
            writer.write(
                b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 37\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )

        cell.cell.behave = come_again
    got = await scene.tokens(grant_type="password", email="ann@example.com", password="correct horse")
    assert (got.status, got.code, got.headers["retry-after"]) == (429, "RATE_LIMITED", "37")


async def test_bad_sign_ups_claim_nothing(scene: Scene) -> None:
    no_key = await scene.router.ask("POST", "/v1/users", body=b'{"email":"a@b.c","password":"12345678"}')
    assert (no_key.status, no_key.code) == (400, "MISSING_IDEMPOTENCY_KEY")
    assert (await scene.sign_up("not an email", "k")).code == "INVALID_FIELD"
    assert (await scene.sign_up("a@b.c", "k", password="short")).status == 422
    assert (await scene.sign_up("a@b.c", "k\u00e9" * 3)).status == 400
    for body in (b"{", b"", b'{"email":"a@b.c"}'):
        assert (await scene.router.ask("POST", "/v1/users", key="k", body=body)).status == 400
    typed = await scene.router.ask("POST", "/v1/users", key="k", body=b"x", headers={"Content-Type": "text/plain"})
    assert typed.status in (400, 415)
    assert await scene.rows("select 1 from control.email_claims") == []


async def test_racing_for_one_email_one_customer_wins(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.sign_up("ann@example.com", f"key-{i}") for i in range(12)))
    assert Counter(a.status for a in answers) == {201: 1, 409: 11}
    assert sum(len(cell.passwords) for cell in scene.cells.values()) == 1


async def test_the_same_sign_up_sent_many_times_at_once_makes_one_customer(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.sign_up("ann@example.com", "key-1") for _ in range(12)))
    assert {a.status for a in answers} == {201}
    assert len({a.json()["user_id"] for a in answers}) == 1
    assert sum(len(cell.passwords) for cell in scene.cells.values()) == 1


async def test_new_customers_are_spread_over_open_cells(scene: Scene) -> None:
    for i in range(20):
        assert (await scene.sign_up(f"user{i}@example.com", f"key-{i}")).status == 201
    assert [len(cell.passwords) for cell in scene.cells.values()] == [10, 10]
    await scene.router.cells["cell-1"].die()
    for i in range(20, 30):
        await scene.sign_up(f"user{i}@example.com", f"key-{i}")
    late = [await scene.sign_up(f"late{i}@example.com", f"late-{i}") for i in range(3)]
    assert {a.status for a in late} == {201}  # by now the breaker knows which cell is dead


@pytest.mark.parametrize("point", ["sign_up.after_claim", "sign_up.after_create"])
async def test_a_crash_between_claim_and_confirmation_is_healed_by_the_retry(scene: Scene, point: str) -> None:
    sign_ups = scene.router.router.sign_ups
    sign_ups._faults = FaultPoints({"FAULT_POINTS": f"{point}=fail"})
    with pytest.raises(FaultInjected):
        await sign_ups.sign_up(NewUser("ann@example.com", "correct horse"), "key-1", "r")
    assert await scene.rows("select state from control.email_claims") == [("pending",)]
    sign_ups._faults = FaultPoints({})
    taken = await scene.sign_up("ann@example.com", "key-2")
    assert taken.code == "EMAIL_TAKEN"
    thief = await scene.sign_up("ann@example.com", "key-1", password="wrong horse")
    healed = await scene.sign_up("ann@example.com", "key-1")
    if point == "sign_up.after_create":
        assert (thief.status, thief.code) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert healed.status == 201
    assert sum(len(cell.passwords) for cell in scene.cells.values()) == 1
    assert await scene.rows("select state from control.email_claims") == [("active",)]


@pytest.mark.parametrize("point", ["sign_up.after_claim", "sign_up.after_create"])
async def test_the_sweep_finishes_or_frees_what_a_crash_left(scene: Scene, point: str) -> None:
    router = scene.router.router
    router.sign_ups._faults = FaultPoints({"FAULT_POINTS": f"{point}=fail"})
    with pytest.raises(FaultInjected):
        await router.sign_ups.sign_up(NewUser("ann@example.com", "correct horse"), "key-1", "r")
    router.sign_ups._faults = FaultPoints({})
    await router.sweep.sweep_once()
    assert await scene.rows("select state from control.email_claims") == [("pending",)]  # too young to be judged
    await scene.rows("update control.email_claims set claimed_at = claimed_at - interval '11 minutes'")
    await router.sweep.sweep_once()
    if point == "sign_up.after_create":
        assert await scene.rows("select state from control.email_claims") == [("active",)]
        assert (await scene.sign_up("ann@example.com", "key-2")).code == "EMAIL_TAKEN"
        assert_moved(router.metrics.render(), "router_claims_finished_total")
    else:
        assert await scene.rows("select state from control.email_claims") == []
        assert (await scene.sign_up("ann@example.com", "key-2")).status == 201
        assert_moved(router.metrics.render(), "router_claims_freed_total")


async def test_the_sweep_leaves_claims_alone_while_their_cell_does_not_answer(scene: Scene) -> None:
    router = scene.router.router
    router.sign_ups._faults = FaultPoints({"FAULT_POINTS": "sign_up.after_create=fail"})
    with pytest.raises(FaultInjected):
        await router.sign_ups.sign_up(NewUser("ann@example.com", "correct horse"), "key-1", "r")
    await scene.rows("update control.email_claims set claimed_at = claimed_at - interval '11 minutes'")
    for cell in scene.router.cells.values():
        await cell.die()
    await router.sweep.sweep_once()
    assert await scene.rows("select state from control.email_claims") == [("pending",)]


async def test_login_and_refresh(scene: Scene) -> None:
    first = (await scene.sign_up("ann@example.com", "key-1")).json()
    login = await scene.tokens(grant_type="password", email="Ann@example.com", password="correct horse")
    assert login.status == 200
    assert set(login.json()) == {"access_token", "expires_in", "refresh_token"}
    assert (await scene.router.ask("GET", "/v1/account", token=login.json()["access_token"])).status == 200
    refreshed = await scene.tokens(grant_type="refresh_token", refresh_token=login.json()["refresh_token"])
    assert refreshed.status == 200
    for wrong in (
        await scene.tokens(grant_type="password", email="ann@example.com", password="wrong horse"),
        await scene.tokens(grant_type="password", email="nobody@example.com", password="correct horse"),
        await scene.tokens(grant_type="refresh_token", refresh_token=first["refresh_token"]),
        await scene.tokens(grant_type="refresh_token", refresh_token="x"),
        await scene.tokens(grant_type="refresh_token", refresh_token=f"{uuid.uuid4().hex}.{'0' * 32}.x"),
    ):
        assert (wrong.status, wrong.code) in ((401, "TOKEN_INVALID"), (503, "CELL_UNAVAILABLE"))
    assert (await scene.tokens(grant_type="magic")).status == 422
    for malformed in (
        await scene.tokens(grant_type="password", email="ann@example.com"),
        await scene.tokens(grant_type="refresh_token"),
    ):
        assert malformed.status == 400


async def test_the_merged_document_describes_the_whole_api(scene: Scene) -> None:
    theirs = {
        "openapi": "3.1.0",
        "paths": {"/v1/orders": {"post": {"responses": {}}}, "/internal/v1/accounts": {"post": {}}},
        "components": {"schemas": {"Order": {"type": "object"}}},
    }

    async def document(request: Any, writer: asyncio.StreamWriter) -> None:
        content = json.dumps(theirs).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content))

    for cell in scene.router.cells.values():
        cell.behave = document
    merged = (await scene.router.ask("GET", "/openapi.json")).json()
    assert set(merged["paths"]) == {"/v1/orders", "/v1/tokens", "/v1/users"}
    assert {"Order", "NewUserTokens", "Tokens"} <= set(merged["components"]["schemas"])
    for path in ("/v1/users", "/v1/tokens"):  # described as it is checked: nothing unknown is taken
        body = merged["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert all(shape["additionalProperties"] is False for shape in body.get("oneOf", [body]))
    assert (await scene.router.ask("GET", "/docs")).status == 200


async def test_without_the_control_database_known_users_trade_and_refresh(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:
        cells = {name: AccountCell(cell) for name, cell in router.cells.items()}
        user_id = router.user_of("cell-2")
        cells["cell-2"].passwords[user_id] = "correct horse"
        cells["cell-2"].refresh_tokens[user_id] = token = f"{user_id.hex}.{'0' * 32}.{'x' * 43}"
        assert (await router.ask("GET", "/v1/account", token=router.token_of(user_id))).status == 200
        body = json.dumps({"grant_type": "refresh_token", "refresh_token": token}).encode()
        refreshed = await router.ask("POST", "/v1/tokens", body=body)
        assert refreshed.status == 200
        login = json.dumps({"grant_type": "password", "email": "a@b.c", "password": "12345678"}).encode()
        got = await router.ask("POST", "/v1/tokens", body=login)
        assert (got.status, got.headers["retry-after"]) == (503, "1")
        signup = json.dumps({"email": "a@b.c", "password": "12345678"}).encode()
        assert (await router.ask("POST", "/v1/users", key="k", body=signup)).status == 503


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 10_000, b'{"email":"\\ud800@b.c"}', b"\xff"])
async def test_a_body_that_is_no_request_is_the_senders_mistake(tmp_path: Path, body: bytes) -> None:
    async with running_router(tmp_path) as router:
        for target in ("/v1/users", "/v1/tokens"):
            got = await router.ask("POST", target, key="k", body=body)
            assert (got.status, got.code) == (400, "INVALID_FIELD")


async def test_a_refresh_whose_answer_was_lost_is_asked_for_again_with_the_same_token(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:
        cell, asked = router.cells["cell-1"], []
        user_id = router.user_of("cell-1")
        shown, following = (f"{user_id.hex}.{'0' * 32}.{letter * 43}" for letter in "xy")
        first_used_at_s = int(time.time()) - 7

        async def lose_the_first_answer(request: Any, writer: asyncio.StreamWriter) -> None:
            asked.append(json.loads(request.body))
            if len(asked) == 1:
                writer.close()
            else:
                body = {"user_id": str(user_id), "refresh_token": following, "first_used_at_s": first_used_at_s}
                writer.write(answer(200, body))

        cell.behave = lose_the_first_answer
        body = json.dumps({"grant_type": "refresh_token", "refresh_token": shown}).encode()
        got = [await router.ask("POST", "/v1/tokens", body=body) for _ in range(2)]
        assert [said.status for said in got] == [200, 200]
        assert got[0].body == got[1].body  # the access token is as of the first time too
        assert asked == [{"refresh_token": shown}] * 3


@pytest.mark.parametrize("said", [-3600, 3600, 0, 2**40])
async def test_a_cells_word_on_when_an_attempt_was_made_is_not_believed_beyond_seconds(
    tmp_path: Path, said: int
) -> None:
    async with running_router(tmp_path) as router:
        user_id = router.user_of("cell-1")
        token = f"{user_id.hex}.{'0' * 32}.{'x' * 43}"

        async def tell_the_time(_: Any, writer: asyncio.StreamWriter) -> None:
            at_s = said if said in (0, 2**40) else int(time.time()) + said
            writer.write(answer(200, {"user_id": str(user_id), "refresh_token": token, "first_used_at_s": at_s}))

        router.cells["cell-1"].behave = tell_the_time
        body = json.dumps({"grant_type": "refresh_token", "refresh_token": token}).encode()
        access_token = (await router.ask("POST", "/v1/tokens", body=body)).json()["access_token"]
        issued_at_s = jwt.decode(access_token, options={"verify_signature": False})["iat"]
        assert abs(issued_at_s - time.time()) < 60


@pytest.mark.parametrize("said", [b"{}", b"[]", b"[" * 20_000, b"\xff", b'{"refresh_token":5}', b""])
async def test_a_cell_that_says_anything_for_a_session_gives_no_tokens(tmp_path: Path, said: bytes) -> None:
    async with running_router(tmp_path) as router:

        async def babble(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said))

        router.cells["cell-1"].behave = babble
        token = f"{router.user_of('cell-1').hex}.{'0' * 32}.{'x' * 43}"
        body = json.dumps({"grant_type": "refresh_token", "refresh_token": token}).encode()
        got = await router.ask("POST", "/v1/tokens", body=body)
        assert (got.status, got.code) == (503, "OUTCOME_UNKNOWN")
