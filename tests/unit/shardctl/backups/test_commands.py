"""Which databases a command means, and how backups are shown."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.backends.backend import quiet
from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from shardctl.backups.coverage import reaches
from shardctl.backups.known import list_reaches, verify_backups
from shardctl.backups.servers import chosen_servers, subject_of
from shardctl.backups.take import prune_backups
from shardctl.commands import backups as command
from shardctl.errors import Refused, UsageError
from tests.unit.shardctl.backups.test_coverage import backup, state


@pytest.fixture
def stopped(tmp_path: Path) -> LocalBackend:
    folder = StackFolder(tmp_path)
    folder.ensure()
    save_record(folder.record, new_record("stopped", StackSpec((CellSpec("cell-1"), CellSpec("cell-2")))))
    return LocalBackend("stopped", folder)


def test_one_of_three_ways_names_the_databases(stopped: LocalBackend) -> None:
    assert chosen_servers(stopped, "cell-2", control=False, every=False) == ("cell-2-postgres",)
    assert chosen_servers(stopped, None, control=True, every=False) == ("control-postgres",)
    everything = chosen_servers(stopped, None, control=False, every=True)
    assert everything == ("control-postgres", "cell-1-postgres", "cell-2-postgres")
    assert [subject_of(server) for server in everything] == ["control", "cell-1", "cell-2"]
    for cell, control in ((None, False), ("cell-1", True)):
        with pytest.raises(UsageError, match="one of --cell CELL, --control, --all"):
            chosen_servers(stopped, cell, control=control, every=False)
    with pytest.raises(Refused, match=r"no cell cell-9; there are: cell-1, cell-2"):
        chosen_servers(stopped, "cell-9", control=False, every=False)


@pytest.mark.anyio
async def test_a_stack_without_backups_has_none_to_show(stopped: LocalBackend) -> None:
    assert await list_reaches(stopped) == []
    assert await verify_backups(stopped, None, quiet) == []
    assert await prune_backups(stopped, 1, quiet, reason=None) == []


def test_a_row_says_what_can_be_restored_and_a_remark_what_cannot() -> None:
    (reach,) = reaches([backup("one", 0)], [state(60)])
    row = command._row(reach)
    assert row[:3] == ("one", "cell-1", "full")
    assert row[5:7] == ("2026-01-02T10:00:00.000000Z", "2026-01-02T11:00:00.000000Z ...")
    assert command._remark(reach) == ""
    gap = replace(reach, missing="000000010000000000000007")
    assert "000000010000000000000007 is missing" in command._remark(gap)
    silent = replace(reach, trouble="the server does not answer")
    assert command._remark(silent) == "cell-1: the server does not answer"
    assert not str(command._row(silent)[6]).endswith("...")
    document = command._reach_document(reach)
    assert (document["label"], document["of"], document["wal"]["end"]) == ("one", "cell-1", "0/64")
