"""A router before two real cells: whatever the map says, a moved user is served by whom the cells' rows say owns them.

The rows are set by hand, as a move leaves them at each of its moments; the map is frozen, or changes for other reasons.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from cell.app import create_app
from cell.settings import CellSettings
from infra.runtime.operator_api import serving
from infra.runtime.settings import ListenSettings, PostgresSettings
from infra.topology.identifiers import CellId
from tests.support.databases import Template, TestDatabase
from tests.support.eventually import eventually
from tests.support.free_port import free_port
from tests.support.raw_http import Answer
from tests.support.routers import RouterUnderTest, map_of, running_router

pytestmark = pytest.mark.anyio
SINCE = 3
"""Of every bucket; the map's own epoch is far above it."""
MAP_EPOCH = 900
_OWNED: LiteralString = (
    "update brokerage.users set owner_state = %s, epoch = %s, forward_cell = %s, forward_epoch = %s where user_id = %s"
)


@dataclass
class TwoCells:
    router: RouterUnderTest
    databases: dict[str, TestDatabase]
    urls: dict[str, tuple[str, ...]]
    user_id: uuid.UUID
    map_epoch: int = MAP_EPOCH

    def say(self, cell: str, state: str, epoch: int, *, forward: tuple[str, int] | None = None) -> None:
        """What the user's row in a cell says."""
        with psycopg.connect(self.databases[cell].superuser_dsn, autocommit=True) as root:
            root.execute(_OWNED, [state, epoch, *(forward or (None, None)), self.user_id])

    def publish(self) -> None:
        self.map_epoch += 1
        self.router.router.watcher._offer(map_of(self.urls, epoch=self.map_epoch, since=SINCE), "redis")

    async def open_account(self, cell: str) -> None:
        body = {"email": f"{self.user_id}@example.com", "name": None, "password": "correct horse", "source": None}
        opened = await self.router.router.calls.post(
            self.user_id, "/internal/v1/accounts", body, request_id="a-sign-up", cell_id=CellId(cell)
        )
        assert opened.status == 201

    def read(self) -> "asyncio.Task[Answer]":
        return asyncio.create_task(self.router.ask("GET", "/v1/account", token=self.router.token_of(self.user_id)))

    def deposit(self, key: str) -> "asyncio.Task[Answer]":
        body = json.dumps({"amount": "5.00"}).encode()
        token = self.router.token_of(self.user_id)
        return asyncio.create_task(self.router.ask("POST", "/v1/deposits", token=token, key=key, body=body))

    async def are_held(self, count: int) -> None:
        async def counted() -> bool:
            return self.router.router.holding.waiting == count

        await eventually(counted)

    def cash(self, cell: str) -> int:
        with psycopg.connect(self.databases[cell].superuser_dsn) as root:
            row: Any = root.execute(
                "select cash_micros from brokerage.users where user_id = %s", [self.user_id]
            ).fetchone()
        return int(row[0])

    def refused_by(self, cell: str) -> int:
        return self.router.router.fleet.cell(CellId(cell)).figures.misdirected


@contextmanager
def two_databases(template: Template) -> Iterator[dict[str, TestDatabase]]:
    with template.clone() as first, template.clone() as second:
        yield {"cell-1": first, "cell-2": second}


@pytest.fixture
async def cells(cell_template: Template, tmp_path: Path) -> AsyncIterator[TwoCells]:
    """A user whom the map puts into the first cell and who lives there; the second one has a copy that owns nothing."""
    with two_databases(cell_template) as databases:
        async with AsyncExitStack() as stack:
            router = await stack.enter_async_context(running_router(tmp_path))
            urls: dict[str, tuple[str, ...]] = {}
            for name, database in databases.items():
                listen = ListenSettings(port=free_port())
                postgres = PostgresSettings(dsn=database.service_dsn)
                app = create_app(CellSettings(name=name, postgres=postgres, keys_dir=router.keys, listen=listen))
                await stack.enter_async_context(app.running())
                await stack.enter_async_context(serving(app.customer, listen))
                urls[name] = (f"http://127.0.0.1:{listen.port}",)
            router.shard_map = map_of(urls, epoch=MAP_EPOCH, since=SINCE)
            router.router.watcher._offer(router.shard_map, "redis")
            moving = TwoCells(router, databases, urls, router.user_of("cell-1"))
            for name in urls:
                await moving.open_account(name)
            moving.say("cell-2", "arriving", 11, forward=("cell-1", 10))
            yield moving


async def test_a_user_is_served_by_the_owner_at_every_moment_of_a_move_and_back(cells: TwoCells) -> None:
    """Sign-up, halt, departure, arrival, and a second move before any map has heard of the first."""
    with psycopg.connect(cells.databases["cell-1"].superuser_dsn) as root:
        stored = root.execute("select epoch from brokerage.users where user_id = %s", [cells.user_id]).fetchone()
    assert stored == (SINCE,), "a cell keeps the ownership epoch, not the map's"
    assert (await cells.deposit("before")).status == 201

    cells.say("cell-1", "departed", SINCE, forward=("cell-2", 11))
    waiting = [cells.read(), cells.deposit("between")]
    await cells.are_held(2)
    cells.publish()  # for other reasons, while they wait
    cells.say("cell-2", "active", 11)
    read, deposit = await asyncio.gather(*waiting)
    assert (read.status, deposit.status) == (200, 201)
    assert (cells.cash("cell-1"), cells.cash("cell-2")) == (5_000_000, 5_000_000)

    refused = cells.refused_by("cell-1")
    assert (await cells.read()).status == 200
    assert cells.refused_by("cell-1") == refused, "the hint is remembered beside a map that still names the first cell"

    cells.say("cell-2", "departed", 11, forward=("cell-1", 13))
    cells.say("cell-1", "active", 13)
    assert (await cells.deposit("after")).status == 201
    assert (cells.cash("cell-1"), cells.cash("cell-2")) == (10_000_000, 5_000_000)


async def test_while_the_target_has_no_certificate_the_source_serves(cells: TwoCells) -> None:
    """Whoever is sent to the target by a map that runs ahead is sent back, and both know it by their epochs."""
    ahead = map_of(cells.urls, epoch=MAP_EPOCH + 1, since=SINCE, pins=[(cells.user_id, "cell-2")], pinned_since=9)
    cells.router.router.watcher._offer(ahead, "redis")
    assert ((await cells.read()).status, (await cells.deposit("early")).status) == (200, 201)
    assert (cells.cash("cell-1"), cells.cash("cell-2")) == (5_000_000, 0)


async def test_two_cells_of_which_none_owns_the_user_end_the_request(cells: TwoCells) -> None:
    """As after a restore: each says that the other one is the owner, and neither of them may be believed for ever."""
    cells.say("cell-1", "departed", SINCE, forward=("cell-2", 11))
    cells.say("cell-2", "departed", 11, forward=("cell-1", SINCE))
    for answer in await asyncio.gather(cells.read(), cells.deposit("nobody")):
        assert (answer.status, answer.code) == (503, "USER_HALTED")
    assert (cells.cash("cell-1"), cells.cash("cell-2")) == (0, 0)
