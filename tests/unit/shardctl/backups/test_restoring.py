"""What is refused before anything is stopped, what is told of a restore, and who stays read-only afterwards."""

import json
from pathlib import Path

import pytest

from infra.backends.backend import BackendError
from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.backups import NOTE, write_note
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from infra.backends.local.restoring import INCARNATION, finish_restore, kept_aside, pending_incarnation, restored_folder
from shardctl.backups.rehearse import proven
from shardctl.backups.restore import check_moment
from shardctl.backups.take import machine_now
from shardctl.backups.unfence import acknowledged, users_of
from shardctl.commands.restoring import _moment
from shardctl.errors import Refused, UsageError
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
    assert _moment("latest") is None
    assert _moment("2026-01-02T10:00:00Z") == T0
    with pytest.raises(UsageError, match="a time with its zone, as 2026-01-31T14:30:00Z, or latest"):
        _moment("yesterday")


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


def test_one_command_at_a_time_and_what_a_killed_one_left_goes(stopped: LocalBackend) -> None:
    backups = stopped.open_backups(lambda _: None)
    half = stopped.folder.backups(SERVER) / ".half"
    half.mkdir(parents=True)
    with backups.lock(SERVER):
        assert not half.exists()
        with pytest.raises(Exception, match="another command works on the backups"), backups.lock(SERVER):
            pytest.fail("both work")
    with backups.lock(SERVER):
        pass


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
