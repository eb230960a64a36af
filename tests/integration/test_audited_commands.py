"""What a command does without the control service leaves who, when, what and why, before it is done and after."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from infra.backends.checkout import project_root
from infra.backends.local.backend import LocalBackend
from shardctl.audit import recording
from shardctl.audit.queries import Attempt, Wanted, open_audit
from shardctl.audit.recording import begin_act, recorded_act
from shardctl.audit.verify import verify_rows
from shardctl.errors import NotReachable, UsageError
from tests.support.control_service import folder_stack, own_name
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend(control_database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """A stack of which only the control database runs."""
    monkeypatch.setattr(recording, "control_dsn", lambda *_: control_database.owner_dsn)
    return folder_stack(tmp_path)


@pytest.fixture
async def acts(control_database: TestDatabase) -> Callable[[], Awaitable[list[Attempt]]]:
    async def read() -> list[Attempt]:
        async with open_audit(control_database.owner_dsn) as audit:
            return await audit.newest(Wanted())

    return read


Read = Callable[[], Awaitable[list[Attempt]]]


async def test_the_record_is_there_before_the_act(backend: LocalBackend, acts: Read) -> None:
    async with recorded_act(backend, "routers.restart", "all"):
        [running] = await acts()
        assert (running.outcome, running.ended_at) == (None, None)
    [done] = await acts()
    assert (done.subject, done.role, done.way, done.act) == (own_name(), "admin", "command", "routers.restart")
    assert (done.target, done.reason, done.outcome, done.detail) == ("all", None, "done", None)
    assert done.ended_at is not None
    assert done.ended_at >= done.at


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
