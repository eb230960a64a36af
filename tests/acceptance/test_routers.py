"""Several routers in one stack, as an operator sees them."""

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.support.stack import Stack, fresh_stack


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
    return tokens


def account(router: str, token: str) -> tuple[int, Any]:
    return ask("GET", f"{router}/v1/account", Authorization=f"Bearer {token}")


def test_keys_are_rotated_under_a_running_stack_and_nobody_is_logged_out(own: Stack) -> None:
    environment = own.env()
    routers = [environment["ROUTER_1_URL"], environment["ROUTER_2_URL"]]
    tokens = sign_up(routers[0])
    before = {row["kid"] for row in own.must("keys", "list", "--json").json() if row["state"] == "active"}
    own.must("keys", "rotate")
    rows = own.must("keys", "list", "--json").json()
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
    own.must("keys", "rotate", "customer", "--drop-old")
    time.sleep(2.5)
    assert account(routers[0], fresh["access_token"])[0] == 401


def test_a_revoked_token_is_void_at_every_router_and_the_user_may_log_in_again(own: Stack) -> None:
    environment = own.env()
    routers = [environment["ROUTER_1_URL"], environment["ROUTER_2_URL"]]
    tokens, other = sign_up(routers[0]), sign_up(routers[0])
    for router in routers:
        assert account(router, tokens["access_token"])[0] == 200
    done = own.must("users", "revoke", tokens["user_id"], "--reason", "a lost phone", "--json").json()
    assert done["routers_told"] == 2
    time.sleep(0.1)
    for router in routers:
        status, problem = account(router, tokens["access_token"])
        assert (status, problem["code"]) == (401, "TOKEN_INVALID")
        assert account(router, other["access_token"])[0] == 200
    time.sleep(max(0.0, done["not_before_s"] - time.time()))
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    status, fresh = ask("POST", f"{routers[0]}/v1/tokens", refresh)
    assert (status, account(routers[1], fresh["access_token"])[0]) == (200, 200)


def test_an_emptied_redis_is_given_the_map_again(own: Stack) -> None:
    def finding() -> str:
        return next(line for line in own.run("doctor").stdout.splitlines() if "published map" in line)

    with redis.Redis.from_url(own.env()["REDIS_URL"]) as client:
        client.flushall()  # as after a kill: it keeps nothing on disk
        assert "holds none" in finding()
        own.must("map", "publish")
        assert client.exists("shardmap:snapshot")
    assert "epoch" in finding()
