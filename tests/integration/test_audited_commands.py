"""What operators do to keys, routers, cells and the map leaves who, when, what and why, before it is done and after."""

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.checkout import project_root
from infra.backends.local.backend import LocalBackend
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from infra.backends.plan import port_names
from infra.security.keys import generate_key_files
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from shardctl import revoke
from shardctl.audit import recording
from shardctl.audit.queries import Attempt, Wanted, open_audit
from shardctl.audit.recording import begin_act, recorded_act
from shardctl.audit.verify import verify_rows
from shardctl.cells import cordon
from shardctl.cells.cordon import cordon_cell, uncordon_cell
from shardctl.errors import Interrupted, NotReachable, Refused, UsageError
from shardctl.revoke import revoke_user
from shardctl.shardmap import locate, republish
from shardctl.shardmap.republish import republish_map
from shardctl.shardmap.store import open_store
from tests.support.control_service import own_name
from tests.support.databases import TestDatabase
from tests.support.free_port import free_port
from tests.support.redis_server import redis_server

pytestmark = pytest.mark.anyio

USER = uuid.UUID(int=7)
READERS = (recording, cordon, republish, revoke, locate)
"""Modules that ask where the control database is."""


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture
async def backend(
    control_database: TestDatabase, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LocalBackend:
    """A stack of which only the control database and Redis run; its map has one cell and its keys are made."""
    folder = StackFolder(tmp_path)
    folder.ensure()
    generate_key_files(folder.keys)
    spec = StackSpec((CellSpec("cell-1"),), redis_url=redis_url)
    ports = {name: free_port() for name in port_names(spec)}
    save_record(folder.record, new_record("mine", spec).with_ports(ports))
    for module in READERS:
        monkeypatch.setattr(module, "control_dsn", lambda *_: control_database.owner_dsn)
    async with open_store(control_database.owner_dsn) as store:
        await store.create_lineage()
        cell = Cell(CellId("cell-1"), api_urls=("http://127.0.0.1:1",), operator_urls=("http://127.0.0.1:1",))
        await store.add_cell(cell, actor="ann", reason="a test")
        await store.set_pins({USER: "cell-1"}, actor="ann", reason="a test")
    return LocalBackend("mine", folder)


@pytest.fixture
async def acts(control_database: TestDatabase) -> Callable[[], Awaitable[list[Attempt]]]:
    async def read() -> list[Attempt]:
        async with open_audit(control_database.owner_dsn) as audit:
            return await audit.newest(Wanted())

    return read


Read = Callable[[], Awaitable[list[Attempt]]]
Do = Callable[[LocalBackend], Awaitable[Any]]
COMMANDS: dict[str, tuple[Do, str, dict[str, Any], str, type[Exception] | None]] = {
    "cells.cordon": (lambda stack: cordon_cell(stack, "cell-1", "why"), "cell-1", {}, "done", None),
    "cells.uncordon": (lambda stack: uncordon_cell(stack, "cell-9", "why"), "cell-9", {}, "refused", Refused),
    "map.publish": (lambda stack: republish_map(stack, "why"), "redis", {}, "done", None),
    "users.revoke": (
        lambda stack: revoke_user(stack, str(USER), "why"),
        str(USER), {}, "interrupted", Interrupted,  # tokens are void; no cell runs that could end the sessions
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
async def test_each_command_leaves_its_record(backend: LocalBackend, acts: Read, name: str) -> None:
    do, target, arguments, outcome, error = COMMANDS[name]
    if error is None:
        await do(backend)
    else:
        with pytest.raises(error):
            await do(backend)
    [act] = await acts()
    assert (act.subject, act.role, act.way, act.act) == (own_name(), "admin", "command", name)
    assert (act.target, act.reason) == (target, "why")
    assert (act.arguments, act.outcome) == (arguments, outcome)
    assert (act.detail is None) == (outcome == "done")
    assert act.ended_at is not None
    assert act.ended_at >= act.at


async def test_the_record_is_there_before_the_act(backend: LocalBackend, acts: Read) -> None:
    async with recorded_act(backend, "routers.restart", "all"):
        [running] = await acts()
        assert (running.outcome, running.ended_at) == (None, None)
    assert (await acts())[0].outcome == "done"


async def test_an_interrupted_act_says_so(backend: LocalBackend, acts: Read) -> None:
    begun = asyncio.Event()

    async def long() -> None:
        async with recorded_act(backend, "routers.restart", "all"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(long())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await acts())[0].outcome == "interrupted"


KILLED = """
import asyncio, os, signal, sys
from shardctl.audit.queries import Who, open_audit

async def main():
    async with open_audit(sys.argv[1]) as audit:
        await audit.begin(Who("ann", "admin", "command"), "keys.rotate", "all", reason="why", arguments={})
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_command_that_is_killed_in_between_leaves_an_attempt_without_an_outcome(
    backend: LocalBackend, acts: Read, control_database: TestDatabase
) -> None:
    arguments = [sys.executable, "-c", KILLED, control_database.owner_dsn]
    killed = await asyncio.to_thread(subprocess.run, arguments, cwd=project_root(), check=False)
    assert killed.returncode == -signal.SIGKILL
    async with recorded_act(backend, "map.publish", "redis"):
        pass
    assert [(act.act, act.outcome) for act in await acts()] == [("map.publish", "done"), ("keys.rotate", None)]
    async with open_audit(control_database.owner_dsn) as audit:
        assert verify_rows(await audit.rows(0), {}, lambda _: None).is_intact


async def test_what_cannot_be_recorded_is_not_done_unless_the_operator_says_so(
    backend: LocalBackend, acts: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(recording, "control_dsn", lambda *_: "postgresql://127.0.0.1:1/x")
        with pytest.raises(NotReachable, match="shardctl up"):
            await begin_act(backend, "map.publish", "redis")
        assert await begin_act(backend, "map.publish", "redis", unrecorded=True) is None
    assert await acts() == []


async def test_an_outcome_that_cannot_be_recorded_ends_no_act(
    backend: LocalBackend, acts: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        async with recorded_act(backend, "map.publish", "redis"):
            away.setattr(recording, "control_dsn", lambda *_: "postgresql://127.0.0.1:1/x")
    assert [(act.act, act.outcome) for act in await acts()] == [("map.publish", None)]


async def test_who_or_why_that_cannot_be_kept_or_read_is_a_usage_error(
    backend: LocalBackend, acts: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    for actor, reason in (("ann", ""), ("ann", "x" * 2_001), ("a" * 201, "x"), ("ann", " "), ("ann", "a\u202eb")):
        monkeypatch.setattr(recording, "os_user", lambda name=actor: name)
        with pytest.raises(UsageError):
            await begin_act(backend, "map.publish", "redis", reason=reason)
    assert await acts() == []


async def test_acts_are_listed_newest_first_by_the_databases_time(backend: LocalBackend, acts: Read) -> None:
    for reason in ("first", "second", "third"):
        async with recorded_act(backend, "map.publish", "redis", reason=reason):
            pass
    found = await acts()
    assert [act.reason for act in found] == ["third", "second", "first"]
    assert sorted(act.at for act in found) == [act.at for act in reversed(found)]


async def test_a_record_is_completed_once_and_never_changed(
    backend: LocalBackend, acts: Read, control_database: TestDatabase
) -> None:
    attempt = await begin_act(backend, "map.publish", "redis")
    assert attempt is not None
    async with open_audit(control_database.owner_dsn) as audit:
        assert await audit.end(attempt, "failed", "x" * 5_000)
        for other in (attempt, attempt + 1, attempt + 99):  # ended already; an outcome; none
            assert not await audit.end(other, "done")
    [act] = await acts()
    assert (act.outcome, act.detail) == ("failed", "x" * 2_000)
    for dsn in (control_database.owner_dsn, control_database.service_dsn, control_database.auditor_dsn):
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            for statement in (
                "update control.audit set reason = 'x'",
                "delete from control.audit",
                "truncate control.audit",
            ):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
                    await connection.execute(statement.encode())
    async with await psycopg.AsyncConnection.connect(control_database.auditor_dsn, autocommit=True) as connection:
        assert await (await connection.execute("select count(*) from control.audit")).fetchone() == (2,)
