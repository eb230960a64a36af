"""Revoked tokens: pushed by Redis, found in the control database, kept in a file; and clocks that differ."""

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import cast

import psycopg
import pytest

from infra.runtime.redis_client import make_redis
from infra.runtime.revocation_source import CHANNEL, RedisRevocations
from infra.runtime.settings import RedisSettings
from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, load_signing_ring
from infra.security.revocations import (
    KEPT_S,
    Revocations,
    RevocationsCorrupted,
    decode_revocations,
    encode_revocations,
)
from router.revoked import RevocationWatcher
from shardctl.shardmap.store import ShardMapStore
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved
from tests.support.redis_server import redis_server
from tests.support.routers import running_router

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000
USER = uuid.UUID(int=7)


async def test_a_push_reaches_a_router_in_a_moment_and_survives_its_restart(tmp_path: Path) -> None:
    with redis_server() as redis:
        async with running_router(tmp_path, redis_url=redis.url) as router:
            user_id = router.user_of("cell-1")
            token = router.token_of(user_id)
            assert (await router.ask("GET", "/v1/account", token=token)).status == 200
            client = make_redis(RedisSettings(url=redis.url))
            source = RedisRevocations(client)

            async def is_listening() -> bool:
                return bool(await source.publish({}))

            async def is_kept() -> bool:
                return await asyncio.to_thread((tmp_path / "router.revoked").exists)

            await eventually(is_listening, within_s=30)
            await source.publish({user_id: int(time.time()) + 5})
            async with asyncio.timeout(4):  # the list is read again each five seconds: this is the push
                while (got := await router.ask("GET", "/v1/account", token=token)).status == 200:
                    pass
            assert (got.status, got.code) == (401, "TOKEN_INVALID")
            assert (await router.ask("GET", "/v1/account", token=router.token())).status == 200
            await client.publish(CHANNEL, b"damaged")

            async def is_refused() -> bool:
                return router.router.revoked.refused > 0

            await eventually(is_refused)
            assert_moved(router.router.metrics.render(), "router_revoked_users", "router_revocations_refused_total")
            await client.aclose()
            await eventually(is_kept, within_s=30)
        redis.kill()
        async with running_router(tmp_path, redis_url=redis.url) as again:
            assert (await again.ask("GET", "/v1/account", token=token)).status == 401


class Pushes:
    """A Redis that only pushes."""

    def __init__(self) -> None:
        self.push: Callable[[bytes], None] = lambda _: None
        self.listened = asyncio.Event()

    async def read(self) -> dict[uuid.UUID, int]:
        return {}

    async def listen(self, on_document: Callable[[bytes], None]) -> None:
        self.push = on_document
        self.listened.set()
        await asyncio.Event().wait()


async def test_whatever_was_pushed_is_in_the_file_in_the_end(tmp_path: Path) -> None:
    async def nothing() -> dict[uuid.UUID, int]:
        return {}

    async def is_kept() -> bool:
        return file.exists() and decode_revocations(file.read_bytes()) == watcher.held.entries()

    pushes, folder = Pushes(), tmp_path / "full"
    file = folder / "router.revoked"
    folder.mkdir()
    watcher = RevocationWatcher(
        redis_source=cast(RedisRevocations, pushes),
        ask_control=nothing,
        file=file,
        poll_s=0.05,
        on_revoked=lambda _: None,
        now=lambda: NOW,
    )
    await watcher.start()
    await asyncio.wait_for(pushes.listened.wait(), 30)
    pushes.push(encode_revocations({USER: NOW}))
    await eventually(is_kept, within_s=30)
    pushes.push(encode_revocations({USER: NOW + 60}))  # as many entries as before, and one of them is another
    await eventually(is_kept, within_s=30)
    folder.rename(tmp_path / "away")  # nothing can be written for a while
    pushes.push(encode_revocations({uuid.UUID(int=8): NOW}))
    await asyncio.sleep(0.2)  # it tries to write meanwhile, every 0.05 s, and cannot
    folder.mkdir()
    await eventually(is_kept, within_s=30)
    await watcher.stop()
    assert watcher.held.entries() == {USER: NOW + 60, uuid.UUID(int=8): NOW}


async def test_without_redis_the_control_database_is_asked(tmp_path: Path, control_database: TestDatabase) -> None:
    async with running_router(tmp_path, control_dsn=control_database.service_dsn) as router:
        user_id = router.user_of("cell-1")
        token = router.token_of(user_id)
        assert (await router.ask("GET", "/v1/account", token=token)).status == 200
        async with await psycopg.AsyncConnection.connect(control_database.owner_dsn, autocommit=True) as connection:
            store = ShardMapStore(connection)
            not_before_s = await store.revoke_tokens(user_id, actor="test", reason="a lost phone")
            assert await store.revoke_tokens(user_id, actor="test", reason="again") >= not_before_s
            assert list(await store.revocations()) == [user_id]

        async def is_refused() -> bool:
            return (await router.ask("GET", "/v1/account", token=token)).status == 401

        await eventually(is_refused, within_s=30)


async def test_clocks_of_routers_may_differ_a_little(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:
        signer = CustomerTokenSigner(load_signing_ring(router.keys / CUSTOMER_SIGNING_FILE))
        user_id, now_s = router.user_of("cell-1"), int(time.time())
        for ahead_s, status in ((-800, 200), (-20, 200), (20, 200), (60, 401)):
            got = await router.ask("GET", "/v1/account", token=signer.sign(user_id, now_s + ahead_s))
            assert got.status == status


def test_lists_merge_in_any_order_and_forget_what_has_expired() -> None:
    held = Revocations()
    assert held.merge({USER: NOW}, NOW) == {USER}
    assert held.merge({USER: NOW - 50}, NOW) == set()
    assert held.is_void(USER, NOW - 1)
    assert not held.is_void(USER, NOW)
    assert not held.is_void(uuid.UUID(int=8), 0)
    assert held.merge({uuid.UUID(int=9): NOW - KEPT_S}, NOW) == set()
    assert len(held) == 1
    held.merge({}, NOW + KEPT_S)
    assert len(held) == 0


def test_damaged_lists_are_refused() -> None:
    document = encode_revocations({USER: NOW})
    assert decode_revocations(document) == {USER: NOW}
    for damaged in (document[:-1], b"", document.replace(b"1800", b"1900"), b"x" + document):
        with pytest.raises(RevocationsCorrupted):
            decode_revocations(damaged)
