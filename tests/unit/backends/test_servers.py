"""Pieces around the servers: Java's version, the jars' lock, PostgreSQL's bootstrap, orphans."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.backends.backend import BackendError
from infra.backends.local.accounts import ServerUser, first_closed_folder
from infra.backends.local.java import parse_version
from infra.backends.local.kafka_jars import LOCK_FILE, SPECIFICATION, Jar, read_lock, verify
from infra.backends.local.orphans import Seen, find_orphans, note_processes, read_noted
from infra.backends.local.postgres import (
    buffers_mb,
    load_or_make_passwords,
    remove_stale_pid_file,
    render_config,
)
from infra.backends.local.supervisor import TOKEN_VARIABLE
from infra.backends.roles import CELL, bootstrap_sql
from infra.backends.topics import stack_topics

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_402"', 8),
        ("bash: java: command not found", None),
    ],
)
def test_java_version(text: str, version: int | None) -> None:
    assert parse_version(text) == version


def test_the_lock_names_every_jar_with_a_checksum_and_no_registry() -> None:
    text = LOCK_FILE.read_text("utf-8")
    jars = read_lock(text)
    assert len(jars) > 40
    assert {"kafka_2.13", "slf4j-simple"} <= {jar.artifact for jar in jars}
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert "://" not in text + SPECIFICATION.read_text("utf-8")


def test_a_changed_missing_or_unknown_jar_is_refused_by_name(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    jar = Jar("org.example", "thing", "1.0", empty)
    with pytest.raises(BackendError, match=r"thing-1\.0\.jar is missing"):
        verify((jar,), tmp_path)
    (tmp_path / "thing-1.0.jar").write_bytes(b"")
    verify((jar,), tmp_path)
    (tmp_path / "stranger-2.jar").write_bytes(b"")
    with pytest.raises(BackendError, match=r"stranger-2\.jar"):
        verify((jar,), tmp_path)
    (tmp_path / "stranger-2.jar").unlink()
    (tmp_path / "thing-1.0.jar").write_bytes(b"x")
    with pytest.raises(BackendError, match=r"thing-1\.0\.jar is not what the lock says"):
        verify((jar,), tmp_path)


def test_topics_of_a_stack() -> None:
    assert stack_topics(("cell-1",), "my.") == (
        "my.executions.forwarded",
        "my.market.halts",
        "my.corporate-actions",
        "my.audit-heads",
        "my.cell-1.order-events",
        "my.cell-1.ledger-events",
    )


def test_durability_is_never_switched_off() -> None:
    settings = dict(line.split(" = ", 1) for line in render_config(20_000).splitlines() if " = " in line)
    assert {settings[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}
    assert settings["listen_addresses"] == "'127.0.0.1'"


@pytest.mark.parametrize(
    ("memory_gib", "megabytes"), [(1, 128), (2, 128), (8, 512), (24, 1_536), (32, 2_048), (512, 2_048)]
)
def test_buffers_are_a_sixteenth_of_the_machine_within_bounds(memory_gib: int, megabytes: int) -> None:
    assert buffers_mb(memory_gib * 2**30) == megabytes


def test_the_auditor_may_read_and_nothing_else() -> None:
    first, second = bootstrap_sql(CELL, dict.fromkeys(("postgres", *CELL.all), "secret"))
    granted = [line for line in (*first, *second) if line.startswith("grant") and "to cell_auditor" in line]
    assert granted == []
    assert "grant connect on database cell to cell_service, cell_auditor, cell_mover" in second
    assert "revoke all on database cell from public" in second
    assert all("\n" not in line for line in (*first, *second)), "a server that is not up yet reads line by line"
    assert any("revoke execute on functions from public" in line for line in second)


def test_passwords_are_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    made = load_or_make_passwords(path, {"one": CELL})
    again = load_or_make_passwords(path, {"one": CELL, "two": CELL})
    assert again["one"] == made["one"]
    assert set(again["two"].values()).isdisjoint(made["one"].values())
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_pid_file_of_a_dead_or_foreign_process_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "postmaster.pid"
    assert not remove_stale_pid_file(tmp_path)
    # This very test has that pid now, as the server of another cell may have after a reboot.
    path.write_text(f"{os.getpid()}\n{tmp_path}\n{int(psutil.Process().create_time())}\n")
    assert remove_stale_pid_file(tmp_path)
    path.write_text("")
    assert remove_stale_pid_file(tmp_path)
    assert not path.exists()


def test_an_orphan_is_known_by_its_token_and_by_what_was_noted(tmp_path: Path) -> None:
    carrying = subprocess.Popen(SLEEP, env={**os.environ, TOKEN_VARIABLE: "ours"})
    noted = subprocess.Popen(SLEEP)
    stranger = subprocess.Popen(SLEEP, env={**os.environ, TOKEN_VARIABLE: "theirs"})
    try:
        note_processes(tmp_path / "processes.json", {"redis": noted.pid})
        found = find_orphans("ours", read_noted(tmp_path / "processes.json"), [])
        assert {process.pid for process in found} == {carrying.pid, noted.pid}
        # The same pid with another start time is another process.
        assert find_orphans("none", [Seen("redis", noted.pid, 1.0)], []) == []
    finally:
        for process in (carrying, noted, stranger):
            process.kill()
            process.wait()
    assert find_orphans("ours", read_noted(tmp_path / "processes.json"), []) == []


def test_the_first_closed_folder_is_named(tmp_path: Path) -> None:
    stranger = ServerUser("nobody", 65_534, 65_534)
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    found = first_closed_folder(closed / "inside" / "not-yet", stranger)
    assert found is not None
    assert found == closed or found in closed.parents  # pytest's own folder may be closed too
    assert first_closed_folder(Path("/"), stranger) is None
