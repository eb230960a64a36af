"""What is refused before anything is stopped, what is told of a restore, and who stays read-only afterwards."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from infra.backends.backend import BackendError, Overtaken
from infra.backends.backups import Decided
from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.local import backups as local_backups
from infra.backends.local.backend import LocalBackend
from infra.backends.local.backup_files import NOTE, write_note
from infra.backends.local.backup_lock import building_folder
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from infra.backends.local.restoring import (
    DECIDED,
    INCARNATION,
    finish_restore,
    kept_aside,
    pending_incarnation,
    pending_restore,
    restored_folder,
)
from shardctl.backups.naming import machine_now
from shardctl.backups.rehearse import Rehearsed, proven, read_heads
from shardctl.backups.restore import check_moment
from shardctl.backups.unfence import acknowledged, users_of
from shardctl.commands.moments import moment_of
from shardctl.errors import Refused, UsageError
from shardctl.events.published import Head
from shardctl.reconciliation.venue import VenueComparison
from tests.unit.shardctl.backups.test_coverage import T0, backup

SERVER = "cell-1-postgres"


@pytest.fixture
def stopped(tmp_path: Path) -> LocalBackend:
    folder = StackFolder(tmp_path)
    folder.ensure()
    save_record(folder.record, new_record("stopped", StackSpec((CellSpec("cell-1"),))))
    return LocalBackend("stopped", folder)


def test_a_time_without_its_zone_is_a_usage_error() -> None:
    assert moment_of("latest") is None
    assert moment_of("2026-01-02T10:00:00Z") == T0
    with pytest.raises(UsageError, match="a time with its zone, as 2026-01-31T14:30:00Z, or latest"):
        moment_of("yesterday")


@pytest.mark.anyio
async def test_the_future_and_a_cell_without_backups_are_refused(stopped: LocalBackend) -> None:
    with pytest.raises(Refused, match="lies in the future"):
        await check_moment(stopped, "cell-1", machine_now().replace(year=2999), None)
    with pytest.raises(Exception, match="there is no backup"):
        await check_moment(stopped, "cell-1", None, None)


def test_an_unfinished_backup_is_none_and_a_damaged_note_is_named(stopped: LocalBackend) -> None:
    backups = stopped.open_backups(lambda _: None)
    folder = stopped.folder.backups(SERVER)
    for name in (".half", "whole"):
        (folder / name).mkdir(parents=True)
        write_note(folder / name, backup(name, 0))
    assert [each.label for each in backups.backups(SERVER)] == ["whole"]
    (folder / "whole" / NOTE).write_text("{")
    with pytest.raises(Exception, match=f"whole/{NOTE} is damaged"):
        backups.backups(SERVER)


@pytest.mark.anyio
async def test_one_command_at_a_time_and_what_a_killed_one_left_goes(
    stopped: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_backups, "WAIT_S", 0.0)
    backups = stopped.open_backups(lambda _: None)
    half, copy = stopped.folder.backups(SERVER) / ".half", building_folder(stopped.folder, SERVER, "rehearsal")
    half.mkdir(parents=True)
    copy.mkdir(parents=True)
    tool = await asyncio.create_subprocess_exec("sleep", "60", env={**os.environ, **backups.marks(SERVER)})
    async with backups.lock(SERVER):
        assert not half.exists()
        assert not copy.exists()
        assert await tool.wait() != 0, "a tool whose command was killed is ended"
        with pytest.raises(BackendError, match="another command works on the backups"):
            async with backups.lock(SERVER):
                pytest.fail("both work")
    async with backups.lock(SERVER):
        pass


@pytest.mark.anyio
async def test_the_leader_removes_what_is_left_unless_somebody_works(stopped: LocalBackend) -> None:
    backups = stopped.open_backups(lambda _: None)
    assert not await backups.sweep(SERVER), "nothing was left"
    half = stopped.folder.backups(SERVER) / ".half"
    async with backups.lock(SERVER):
        half.mkdir(parents=True)
        assert not await backups.sweep(SERVER)
        assert half.exists()
    assert await backups.sweep(SERVER)
    assert not half.exists()


@pytest.mark.anyio
async def test_a_former_leader_removes_no_backup(stopped: LocalBackend) -> None:
    save_record(stopped.folder.record, replace(stopped.record(), leader_number=7))
    whole = stopped.folder.backups(SERVER) / "whole"
    whole.mkdir(parents=True)
    write_note(whole, backup("whole", 0))
    with pytest.raises(Overtaken, match="lease 6 is over"):
        await stopped.open_backups(lambda _: None, 6).prune(["whole"], SERVER)
    assert (whole / NOTE).exists()


def test_a_decided_restore_is_put_in_its_place_once_and_the_old_data_is_kept(stopped: LocalBackend) -> None:
    folder = stopped.folder
    current = folder.data(SERVER)
    current.mkdir(parents=True)
    (current / "PG_VERSION").write_text("old")
    assert pending_incarnation(folder, SERVER) is None
    assert finish_restore(folder, SERVER) is None
    restored = restored_folder(folder, SERVER)
    restored.mkdir()
    (restored / INCARNATION).write_text("0123456789")
    (restored / "PG_VERSION").write_text("new")
    assert pending_incarnation(folder, SERVER) == "0123456789"
    assert pending_restore(folder, SERVER) is None, "nobody noted what it was asked for"
    decided = Decided("0123456789", "cell-1-x", T0, None)
    (restored / DECIDED).write_bytes(msgspec.json.encode(decided))
    assert stopped.open_restores(lambda _: None).decided(SERVER) == decided
    (restored / DECIDED).write_text("{")
    with pytest.raises(BackendError, match="damaged"):
        pending_restore(folder, SERVER)
    (restored / DECIDED).unlink()
    kept = finish_restore(folder, SERVER)
    assert kept == current.with_name(f"{SERVER}.before-01234567")
    assert ((current / "PG_VERSION").read_text(), (kept / "PG_VERSION").read_text()) == ("new", "old")
    assert kept_aside(folder, SERVER) == [(kept, 3)]
    assert finish_restore(folder, SERVER) is None


def test_a_crash_between_the_two_steps_is_finished(stopped: LocalBackend) -> None:
    """The old data was renamed, the new one was not: without this, `up` would make an empty database."""
    folder = stopped.folder
    restored = restored_folder(folder, SERVER)
    restored.mkdir(parents=True)
    (restored / INCARNATION).write_text("0123456789")
    finish_restore(folder, SERVER)
    assert (folder.data(SERVER) / INCARNATION).exists()


def test_users_whose_orders_differ_are_named_if_all_of_them_are_listed() -> None:
    rows = ({"user_id": "u-1"}, {"user_id": None}, {"user_id": "u-1"})
    assert users_of("cell-1", VenueComparison(9, 3, rows)) == {"u-1"}
    with pytest.raises(Refused, match="stays fenced: 4 orders differ"):
        users_of("cell-1", VenueComparison(9, 4, rows))


def test_the_last_report_that_the_venue_has_deleted() -> None:
    assert acknowledged({"sessions": {"cell-1": {"acked_seq": 7}}}, "cell-1") == 7
    assert acknowledged({"sessions": {}}, "cell-1") == 0


def test_what_the_checks_of_a_copy_said_is_its_last_line() -> None:
    found = {"healthy": False, "checks": [{"name": "entries_balance", "violations": 2}], "totals": []}
    assert proven("a line of the log\n" + json.dumps(found)) == {"entries_balance": 2}
    for output in ("", "no JSON", "{}"):
        with pytest.raises(BackendError, match="said nothing"):
            proven(output)


def test_the_heads_of_a_copy_are_its_lines_without_the_log() -> None:
    user = "00000000-0000-4000-8000-00000000000a"
    row = {"user_id": user, "order_event_seq": 3, "entry_seq": 2, "orders_published": 1, "ledger_published": 0}
    line = json.dumps({**row, "published_chain_head": None}, separators=(",", ":"))
    heads = read_heads('{"level":"info"}\n' + line + "\n")
    assert heads == {UUID(user).bytes: Head(1, 0, "", 3, 2)}


def test_a_copy_would_do_if_nothing_was_found() -> None:
    good = Rehearsed("cell-1", "x", None, 1.0, {"entries_balance": 0}, {"differences": 0}, {"asked": False})
    assert good.findings() == []
    source = {"differences": 1, "sample": [{"user_id": "u", "what": "not in the source"}]}
    bad = replace(good, checks={"entries_balance": 2}, source=source, events={"asked": True, "differences": 3})
    assert len(bad.findings()) == 3
