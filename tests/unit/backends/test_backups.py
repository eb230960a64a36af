"""The files of an archive, the process that writes it, and what a backup's folder says."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.backends.backend import BackendError
from infra.backends.backups import BackupDamaged, format_lsn, parse_lsn
from infra.backends.cell_spec import CellSpec, ProcessKind, StackSpec
from infra.backends.local.archive import SEGMENT_BYTES, read_segments, segment_name
from infra.backends.local.backup_files import MANIFEST, judge_space, read_range
from infra.backends.local.folders import StackFolder
from infra.backends.local.postgres_tools import TOOLS, plain_output, require_tools
from infra.backends.local.processes import Tools, plan_processes
from infra.backends.local.record import new_record
from infra.backends.plan import port_names
from infra.backends.roles import CELL, archiver_statements

FOLDER = StackFolder(Path("/state/local-1"))


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_a_position_is_written_as_it_is_read(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


def test_names_are_those_of_the_server() -> None:
    assert segment_name(1, parse_lsn("0/35AE4E0") // SEGMENT_BYTES) == "000000010000000000000003"
    assert segment_name(2, parse_lsn("1A/FF000000") // SEGMENT_BYTES) == "000000020000001A000000FF"
    assert segment_name(2, parse_lsn("1B/0") // SEGMENT_BYTES) == "000000020000001B00000000"


def test_a_run_ends_at_the_first_file_that_is_missing() -> None:
    names = [segment_name(1, number) for number in (254, 255, 256, 258)]
    segments = read_segments([*names, segment_name(1, 259) + ".partial", segment_name(2, 257), "x"], 1)
    assert segments.run(254) == range(254, 257)
    assert segments.missing(254) == "000000010000000100000001"
    assert segments.run(258) == range(258, 260)
    assert segments.missing(258) is None
    assert segments.file_name(259).endswith(".partial")
    assert segments.run(257) == range(257, 257)


def test_the_archive_is_a_process_without_a_password_in_its_command() -> None:
    spec = StackSpec((CellSpec("cell-1"),))
    record = new_record("local-1", spec).with_ports({name: 20_000 + n for n, name in enumerate(port_names(spec))})
    archived = record.with_archive("cell-1-postgres", "archive_1").with_archive("control-postgres", "archive_2")
    planned = {p.name: p for p in plan_processes(archived, FOLDER, Tools(Path("/pg/bin")), "postgres")}
    process = planned["cell-1-archive"]
    assert (process.kind, process.cell, process.user) == (ProcessKind.ARCHIVE, "cell-1", None)
    assert "/state/local-1/backups/cell-1-postgres/log/archive_1" in process.command
    assert process.command[-1].startswith("postgresql://cell_archiver@127.0.0.1:")
    assert planned["control-archive"].cell is None
    ended = archived.with_archive("cell-1-postgres", None)
    assert "cell-1-archive" not in {p.name for p in plan_processes(ended, FOLDER, Tools(Path("/pg/bin")), None)}


def test_who_copies_a_server_may_do_nothing_else() -> None:
    create, alter = archiver_statements(CELL, "secret")
    assert "create role cell_archiver" in create
    for word in ("replication", "nosuperuser", "nocreatedb", "nocreaterole", "noinherit", "connection limit"):
        assert f" {word} " in alter
    assert "cell_archiver" not in CELL.all, "no right in any database"


def test_a_tool_that_is_missing_is_named(tmp_path: Path) -> None:
    for name in TOOLS[:-2]:
        (tmp_path / name).touch()
    with pytest.raises(BackendError, match=rf"{TOOLS[-2]}, {TOOLS[-1]} is not in .*POSTGRES_BIN"):
        require_tools(tmp_path)


def test_progress_is_no_part_of_an_error() -> None:
    assert plain_output("  10/100 kB (10%), 0/1\r 100/100 kB (100%), 1/1\npg_x: error: no\n") == "pg_x: error: no"


def test_the_log_that_a_copy_needs_stands_in_its_manifest(tmp_path: Path) -> None:
    ranges = [{"Timeline": 2, "Start-LSN": "0/2000028", "End-LSN": "0/2000120"}]
    (tmp_path / MANIFEST).write_text(json.dumps({"WAL-Ranges": ranges}))
    assert read_range(tmp_path) == (2, 0x2000028, 0x2000120)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(BackupDamaged, match=MANIFEST):
        read_range(tmp_path)


def test_a_disk_that_would_be_full_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    judge_space(tmp_path, 0, "nothing")
    with pytest.raises(BackendError, match=r"a backup of x takes up to .* MB"):
        judge_space(tmp_path, 2**60, "a backup of x")
