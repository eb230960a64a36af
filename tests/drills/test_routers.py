"""Several routers in one stack, as an operator sees them."""

import asyncio
import itertools
import json
import os
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from tests.support import raw_http
from tests.support.stack import Stack, fresh_stack

pytestmark = pytest.mark.minutes(5)


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with fresh_stack("routers", "--cells", "1", "--routers", "2") as running:
        yield running


def test_a_rolling_restart_renews_every_router_in_place(own: Stack) -> None:
    before = own.must("routers", "list", "--json").json()
    assert [row["state"] for row in before] == ["ready", "ready"]
    assert {row["map_epoch"] for row in before} == {before[0]["map_epoch"]}
    pids = {row["name"]: row["pid"] for row in own.status()["processes"]}
    own.must("routers", "restart")
    after = own.must("routers", "list", "--json").json()
    assert [row["state"] for row in after] == ["ready", "ready"]
    for old, new in zip(before, after, strict=True):
        assert (new["router"], new["url"]) == (old["router"], old["url"])
        assert new["started_at"] > old["started_at"]
    assert {row["name"]: row["pid"] for row in own.status()["processes"]} == pids
    assert own.run("routers", "restart", "router-9").exit_code != 0
    urls = own.env()
    assert urls["ROUTER_1_URL"] != urls["ROUTER_2_URL"]


def ask(method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    for name, value in {"Content-Type": "application/json", **headers}.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def sign_up(router: str) -> Any:
    body = {"email": f"{uuid.uuid4().hex}@example.com", "password": "correct horse"}
    status, tokens = ask("POST", f"{router}/v1/users", body, **{"X-Idempotency-Key": uuid.uuid4().hex})
    assert status == 201, tokens
    return {**tokens, "email": body["email"]}


def account(router: str, token: str) -> tuple[int, Any]:
    return ask("GET", f"{router}/v1/account", Authorization=f"Bearer {token}")


@dataclass
class Writes:
    """Customers who repeat an unanswered request with the same key at the other router."""

    ports: list[int]
    done: int = 0
    unanswered: int = 0
    over: bool = False

    async def write(self, token: str, path: str, body: Any) -> None:
        key, content = uuid.uuid4().hex, json.dumps(body).encode()
        for attempt in itertools.count(self.done):
            port = self.ports[attempt % len(self.ports)]
            try:
                got = await raw_http.ask(port, "POST", path, token=token, key=key, body=content)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            except (OSError, asyncio.IncompleteReadError):
                self.unanswered += 1
            else:
                if got.status == 201:
                    self.done += 1
                    return
                assert got.status in (429, 503), got
                await asyncio.sleep(0.05)

    async def go_on(self, token: str, path: str, body: Any) -> int:
        """How many writes this customer did."""
        for count in itertools.count():
            if self.over:
                return count
            await self.write(token, path, body)
        raise AssertionError

    async def more(self, count: int) -> None:
        wanted = self.done + count
        async with asyncio.timeout(60):
            while self.done < wanted:  # noqa: ASYNC110 - a count, not an event
                await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_routers_die_and_end_under_load_and_nothing_is_lost_or_done_twice(own: Stack) -> None:
    pids = {row["name"]: row["pid"] for row in own.status()["processes"]}
    environment = own.env()
    routers = [environment["ROUTER_1_URL"], environment["ROUTER_2_URL"]]
    signed_up = [sign_up(routers[number % 2]) for number in range(5)]
    own.must("users", "set-profile", signed_up[-1]["user_id"], "professional", "--reason", "no rate limit")
    customers = [tokens["access_token"] for tokens in signed_up]
    writes = Writes([urlsplit(router).port or 80 for router in routers])
    price = ask("GET", f"{routers[0]}/v1/symbols/AAPL", Authorization=f"Bearer {customers[0]}")[1]["reference_price"]
    order = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": f"{float(price):.2f}"}
    await writes.write(customers[-1], "/v1/deposits", {"amount": "1000000"})
    async with asyncio.TaskGroup() as group:
        depositors = [
            group.create_task(writes.go_on(token, "/v1/deposits", {"amount": "1"})) for token in customers[:-1]
        ]
        trader = group.create_task(writes.go_on(customers[-1], "/v1/orders", order))
        await writes.more(50)
        os.kill(pids["router-1"], signal.SIGKILL)
        await writes.more(50)
        await asyncio.to_thread(until_renewed, pids["router-1"], routers[0], customers[0])
        await writes.more(20)
        left_by_the_killed = writes.unanswered
        os.kill(pids["router-2"], signal.SIGTERM)
        await writes.more(50)
        await asyncio.to_thread(until_renewed, pids["router-2"], routers[1], customers[0])
        await writes.more(20)
        writes.over = True
    assert writes.unanswered == left_by_the_killed  # told to end, it answers whoever reached it
    for token, depositor in zip(customers, depositors, strict=False):
        assert account(routers[0], token)[1]["cash"] == f"{depositor.result()}.000000"
    placed, page = set(), "?limit=500"
    while page:
        listed = ask("GET", f"{routers[1]}/v1/orders{page}", Authorization=f"Bearer {customers[-1]}")[1]
        placed |= {item["order_id"] for item in listed["items"]}
        page = listed["next_page_token"] and f"?limit=500&page_token={listed['next_page_token']}"
    assert len(placed) == trader.result() > 0
    own.must("cells", "check", "cell-1")


def until_renewed(gone: int, router: str, token: str) -> None:
    """That process has ended, and its supervisor has started another."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if not psutil.pid_exists(gone) and account(router, token)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{router} did not come back")


def try_to_sign_up(router: str) -> tuple[int, Any]:
    body = {"email": f"{uuid.uuid4().hex}@example.com", "password": "correct horse"}
    return ask("POST", f"{router}/v1/users", body, **{"X-Idempotency-Key": uuid.uuid4().hex})


def test_a_cordoned_cell_takes_nobody_new_and_serves_its_own(own: Stack) -> None:
    environment = own.env()
    routers = [environment["ROUTER_1_URL"], environment["ROUTER_2_URL"]]
    known = sign_up(routers[0])["access_token"]
    epoch = own.must("map", "show", "--json").json()["epoch"]
    first = own.must("cells", "cordon", "cell-1", "--reason", "slow disk", "--json").json()
    assert (first["epoch"], first["changed"], first["published"], first["cells_open"]) == (epoch + 1, True, True, 0)
    try:
        again = own.must("cells", "cordon", "cell-1", "--reason", "slow disk", "--json").json()
        assert (again["epoch"], again["changed"]) == (epoch + 1, False)
        until_all_hold(own, epoch + 1)
        for router in routers:
            assert try_to_sign_up(router)[0] == 503
            assert account(router, known)[0] == 200
            status, _ = ask(
                "POST", f"{router}/v1/deposits", {"amount": "1"}, Authorization=f"Bearer {known}",
                **{"X-Idempotency-Key": uuid.uuid4().hex},
            )  # fmt: skip
            assert status == 201
        assert [row["state"] for row in own.must("cells", "list", "--json").json()] == ["cordoned"]
        own.must("up", "--wait")  # brings the stack to what is asked, and leaves the map alone
        assert own.must("map", "show", "--json").json()["epoch"] == epoch + 1
        (change,) = own.must("map", "show", "--history", "1", "--json").json()["history"]
        assert change["reason"] == "slow disk"
        assert own.run("cells", "cordon", "cell-9", "--reason", "x").exit_code == 1
    finally:
        own.must("cells", "uncordon", "cell-1", "--reason", "new disk")
    until_all_hold(own, epoch + 2)
    for router in routers:
        assert account(router, sign_up(router)["access_token"])[0] == 200


def until_all_hold(stack: Stack, epoch: int) -> None:
    deadline = time.monotonic() + 30
    while {row["map_epoch"] for row in stack.must("routers", "list", "--json").json()} != {epoch}:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_keys_are_rotated_under_a_running_stack_and_nobody_is_logged_out(own: Stack) -> None:
    environment = own.env()
    routers = [environment["ROUTER_1_URL"], environment["ROUTER_2_URL"]]
    tokens = sign_up(routers[0])

    def shared() -> list[dict[str, Any]]:
        """Of the rings that processes share: each cell's own is rotated by itself."""
        return [row for row in own.must("keys", "list", "--json").json() if not row["ring"].startswith("cell-")]

    before = {row["kid"] for row in shared() if row["state"] == "active"}
    own.must("keys", "rotate", "--reason", "a drill")
    rows = shared()
    active = {row["kid"] for row in rows if row["state"] == "active"}
    assert len(active) == 3
    assert not active & before
    assert {row["kid"] for row in rows if row["state"] == "retired"} == before
    for router in routers:
        assert account(router, tokens["access_token"])[0] == 200
        again = sign_up(router)  # a new access token, a new route token, by the new keys
        assert account(router, again["access_token"])[0] == 200
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    status, fresh = ask("POST", f"{routers[1]}/v1/tokens", refresh)
    assert status == 200
    assert account(routers[0], fresh["access_token"])[0] == 200
    own.must("cells", "summary", "cell-1", "--json")  # an operator token by the new key
    own.must("keys", "rotate", "customer", "--drop-old", "--reason", "a drill")
    for router in routers:  # void when the command has ended, not a moment later
        assert account(router, fresh["access_token"])[0] == 401
    (pid,) = [row["pid"] for row in own.must("status", "--json").json()["processes"] if row["name"] == "cell-1-api-1"]
    os.kill(pid, signal.SIGSTOP)
    try:
        hung = own.run("keys", "rotate", "route", "--drop-old", "--reason", "a drill")
        assert hung.exit_code == 1
        assert f"cell-1-api-1: runs (pid {pid}) and does not answer" in hung.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    holders = own.must("keys", "check", "--json").json()
    assert {holder["process"] for holder in holders} >= {"cell-1-api-1", "router-1", "router-2", "exchange"}
    assert all(holder["is_current"] for holder in holders)
    again = sign_up(routers[0])
    assert account(routers[1], again["access_token"])[0] == 200


def test_a_revoked_user_is_out_at_every_router_and_may_log_in_again(own: Stack) -> None:
    environment = own.env()
    routers = [environment["ROUTER_1_URL"], environment["ROUTER_2_URL"]]
    tokens, other = sign_up(routers[0]), sign_up(routers[0])
    for router in routers:
        assert account(router, tokens["access_token"])[0] == 200
    done = own.must("users", "revoke", tokens["user_id"], "--reason", "a lost phone", "--json").json()
    assert done["routers_notified"] == 2
    time.sleep(0.1)
    for router in routers:
        status, problem = account(router, tokens["access_token"])
        assert (status, problem["code"]) == (401, "TOKEN_INVALID")
        assert account(router, other["access_token"])[0] == 200
    assert (done["cell"], done["sessions_ended"]) == ("cell-1", 1)
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    for router in routers:
        assert ask("POST", f"{router}/v1/tokens", refresh)[0] == 401
    time.sleep(max(0.0, done["not_before_s"] - time.time()))
    login = {"grant_type": "password", "email": tokens["email"], "password": "correct horse"}
    status, fresh = ask("POST", f"{routers[0]}/v1/tokens", login)
    assert (status, account(routers[1], fresh["access_token"])[0]) == (200, 200)
    refresh["refresh_token"] = fresh["refresh_token"]
    assert ask("POST", f"{routers[1]}/v1/tokens", refresh)[0] == 200


def test_an_emptied_redis_is_given_the_map_again(own: Stack) -> None:
    def finding() -> str:
        return next(line for line in own.run("doctor").stdout.splitlines() if "published map" in line)

    with redis.Redis.from_url(own.env()["REDIS_URL"]) as client:
        client.flushall()  # as after a kill: it keeps nothing on disk
        limit_s = time.monotonic() + 60.0  # the control service looks every few seconds
        while not client.exists("shardmap:snapshot"):
            assert time.monotonic() < limit_s, finding()
            time.sleep(0.1)
        client.flushall()
        own.must("map", "publish")  # who cannot wait
        assert client.exists("shardmap:snapshot")
    assert "epoch" in finding()
