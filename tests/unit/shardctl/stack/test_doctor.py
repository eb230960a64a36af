"""The order of an examination, with the machine as it is and without a stack: it ends where nothing can follow."""

import os
import stat
from pathlib import Path

import pytest

from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.finding import Finding, Verdict
from infra.backends.local.backend import LocalBackend
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from shardctl.stack.doctor import examine

pytestmark = pytest.mark.anyio

MACHINE = ["python", "disk", "memory", "open files", "state folder", "postgresql", "redis", "java", "kafka jars"]


async def examined(folder: Path) -> list[Finding]:
    backend = LocalBackend("examined", StackFolder(folder))
    return [finding async for finding in examine(backend, ledger=True)]


async def test_without_a_stack_it_ends_with_the_command_that_makes_one(tmp_path: Path) -> None:
    findings = await examined(tmp_path)
    assert [finding.check for finding in findings] == [*MACHINE, "stack"]
    last = findings[-1]
    assert (last.verdict, last.detail, last.fix) == (Verdict.BAD, "there is no stack examined", "shardctl up")


async def test_a_stopped_stack_is_examined_as_far_as_files_go(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    folder.ensure()
    save_record(folder.record, new_record("examined", StackSpec((CellSpec("cell-1"),))))
    missing = (await examined(tmp_path))[len(MACHINE)]
    assert (missing.check, missing.verdict) == ("secrets", Verdict.BAD)

    folder.pgpass.touch(mode=0o600)
    (folder.keys / "route.json").touch(mode=0o600)
    os.chmod(folder.keys / "route.json", stat.S_IRUSR | stat.S_IRGRP)
    findings = await examined(tmp_path)
    assert [finding.check for finding in findings[len(MACHINE) :]] == ["secrets", "supervisor"]
    secrets, supervisor = findings[len(MACHINE) :]
    assert secrets.fix == f"chmod 600 {folder.keys / 'route.json'}"
    assert (supervisor.verdict, supervisor.fix) == (Verdict.BAD, "shardctl up")


async def test_a_missing_program_is_named_with_the_way_to_give_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path / "none"))
    monkeypatch.setenv("REDIS_SERVER_BIN", str(tmp_path / "none"))
    found = {finding.check: finding for finding in await examined(tmp_path)}
    for check, variable in (("postgresql", "POSTGRES_BIN"), ("redis", "REDIS_SERVER_BIN")):
        assert found[check].verdict is Verdict.BAD
        assert f"export {variable}=" in found[check].fix
