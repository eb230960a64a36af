"""Who may not be moved, and which moves there were, in a real control database; a cell that does not answer."""

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from infra.backends.local.backend import LocalBackend
from infra.runtime.clock import SystemClock
from infra.runtime.database import make_pool
from infra.runtime.settings import PostgresSettings
from infra.topology.bucketing import bucket_of
from shardctl.audit import recording
from shardctl.audit.queries import Wanted, open_audit
from shardctl.errors import Refused
from shardctl.moves import holds
from shardctl.moves.driver import Move
from shardctl.moves.holds import hold_user, unhold_user
from shardctl.moves.looking import look_at_users
from shardctl.moves.queries import MoveRecords, open_move_records
from shardctl.operations.errors import LeaseLost
from shardctl.operations.queries import Operations
from shardctl.operations.resources import StackResources
from shardctl.shardmap import locate
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import open_store
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio
ANN, BOB = UUID(int=1), UUID(int=2)


@pytest.fixture
async def records(control_database: TestDatabase) -> AsyncIterator[MoveRecords]:
    async with open_move_records(control_database.owner_dsn) as records:
        yield records


async def test_a_held_user_is_known_until_somebody_says_otherwise(records: MoveRecords) -> None:
    assert await records.hold(ANN, "eve", "subpoena 7")
    assert not await records.hold(ANN, "bob", "another")  # who holds first stays
    (held,) = await records.holds([ANN, BOB])
    assert (held.user_id, held.actor, held.reason) == (ANN, "eve", "subpoena 7")
    assert await records.unhold(ANN)
    assert not await records.unhold(ANN)
    assert await records.holds([ANN]) == []


async def test_a_hold_is_an_act_with_a_reason(
    control_database: TestDatabase, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (holds, locate, recording):
        monkeypatch.setattr(module, "control_dsn", lambda _: control_database.owner_dsn)
    async with open_store(control_database.owner_dsn) as store:
        await store.create_lineage()
    assert (await hold_user(backend, str(ANN), "subpoena 7")).changed
    assert not (await hold_user(backend, str(ANN), "again")).changed
    assert (await unhold_user(backend, str(ANN), "lifted")).changed
    async with open_audit(control_database.owner_dsn) as audit:
        acts = await audit.newest(Wanted())
    assert [(act.act, act.target, act.reason, act.outcome) for act in acts] == [
        ("users.unhold", str(ANN), "lifted", "done"),
        ("users.hold", str(ANN), "again", "done"),
        ("users.hold", str(ANN), "subpoena 7", "done"),
    ]


async def leases(control_database: TestDatabase, number: int) -> list[int]:
    """Of leaders that came one after the other; the last one leads."""
    held = []
    async with make_pool(PostgresSettings(dsn=control_database.leader_dsn), "test", size=1) as pool:
        for _ in range(number):
            with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
                root.execute("update control.leadership set expires_at = '-infinity'")
            lease = await Operations(pool).acquire_lease("test", 60.0)
            assert lease is not None
            held.append(lease)
    return held


async def test_a_move_is_recorded_once_by_the_leader_and_never_changed(control_database: TestDatabase) -> None:
    former, lease = await leases(control_database, 2)
    there = Move(ANN, uuid4(), "cell-1", "cell-2", 7)
    back = Move(ANN, uuid4(), "cell-2", "cell-1", 9)
    async with open_move_records(control_database.leader_dsn, lease=lease) as records:
        for move, operation, pause_us in ((there, 17, 41_000), (back, 18, None)):
            given: dict[str, Any] = {"actor": "ann", "reason": "closer", "pause_us": pause_us}
            assert await records.record(move, operation, **given, receipt=f"receipt of {operation}") == (
                f"receipt of {operation}"
            )
            # Again after a crash: another receipt of the same move is not the one that was given out.
            again = await records.record(move, operation, **given, receipt="made again")
            assert again == f"receipt of {operation}"
        assert [move.operation_id for move in await records.of_user(ANN)] == [18, 17]
        assert await records.of_user(BOB) == []
        (of_17,) = await records.of_operation(17)
        assert (of_17.from_cell, of_17.to_cell, of_17.ownership_epoch, of_17.actor) == ("cell-1", "cell-2", 7, "ann")
        assert await records.pauses_us() == [41_000]
    async with open_move_records(control_database.leader_dsn, lease=former) as records:
        with pytest.raises(LeaseLost):
            await records.record(there, 17, actor="ann", reason=None, pause_us=None, receipt="late")
    async with open_move_records(control_database.owner_dsn) as records:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await records._connection.execute("delete from control.moves")


async def test_a_cell_that_does_not_answer_gives_nobody_away(
    control_database: TestDatabase, backend: LocalBackend
) -> None:
    """The stack is a folder: nothing of it runs. Whom the map does not place is not asked about."""
    cell = backend.spec().cells[0]
    addresses = backend.addresses()
    async with open_store(control_database.owner_dsn) as store:
        await store.create_lineage()
        urls = addresses.api_urls(cell), addresses.operator_urls(cell)
        shard_map = await register_cell(store, await store.load(), cell.name, *urls)
    bucket = next(number for number, owner in enumerate(shard_map.owners) if owner)
    here = next(user for user in map(UUID, _ids()) if bucket_of(user) == bucket)
    resources = StackResources(backend, SystemClock(), control_database.owner_dsn, None, "ann", "why")
    with pytest.raises(Refused, match=r"gives nobody away.*shardctl backup restore"):
        await look_at_users(resources, [here], "cell-1")
    nowhere = next(user for user in map(UUID, _ids()) if shard_map.locate(user) is None)
    facts = await look_at_users(resources, [nowhere], "cell-9")
    assert facts == {
        "known_cells": ["cell-1"],
        "cells": {},
        "users": {str(nowhere): {"cell": None, "owner_state": None, "held": None}},
    }


def _ids() -> Iterator[str]:
    return (str(UUID(int=number)) for number in itertools.count(1))
