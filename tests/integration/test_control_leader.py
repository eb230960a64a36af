"""Leading is given up in time and taken again; duties end with the lease."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from infra.runtime.database import make_pool
from infra.runtime.settings import ListenSettings, PostgresSettings
from infra.runtime.shutdown import Shutdown
from shardctl.operations.queries import Operations
from shardctl.service.leader import Leader
from shardctl.service.settings import ControlSettings
from shardctl.stack.routers import list_routers
from tests.support.control_service import folder_stack
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio


@pytest.fixture
async def operations(control_database: TestDatabase) -> AsyncIterator[Operations]:
    async with make_pool(PostgresSettings(dsn=control_database.leader_dsn), "test", size=2) as pool:
        yield Operations(pool)


async def test_a_lease_that_was_taken_away_ends_every_duty_and_the_next_has_a_higher_number(
    operations: Operations, control_database: TestDatabase
) -> None:
    told: list[int | None] = []
    ended: list[int] = []
    changed = asyncio.Event()

    async def duty(lease: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(lease)

    def on_change(lease: int | None) -> None:
        told.append(lease)
        changed.set()

    leader = Leader(operations, (duty, duty), holder="test", life_s=5, renewed_each_s=0.1, on_change=on_change)
    shutdown = Shutdown()
    running = asyncio.create_task(leader.run(shutdown))
    await changed.wait()
    changed.clear()
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        root.execute("update control.leadership set number = number + 1, expires_at = clock_timestamp()")
    while told[-1] is None or len(told) < 3:
        await changed.wait()
        changed.clear()
    assert told == [1, None, 3]
    assert ended == [1, 1]
    shutdown.ask()
    await running
    assert await operations.acquire_lease("another", 5) == 4  # it was given back


def test_settings_of_the_service(tmp_path: Path) -> None:
    settings = ControlSettings(dsn="postgresql://", socket=tmp_path / "s", operator=ListenSettings(port=0))
    assert settings.lease_renewed_each_s * 3 <= settings.lease_life_s


async def test_routers_that_do_not_run_are_listed_as_silent(tmp_path: Path) -> None:
    assert [(row.router, row.state) for row in await list_routers(folder_stack(tmp_path))] == [
        ("router-1", "silent"), ("router-2", "silent"),
    ]  # fmt: skip
