"""Logs: the last lines, lines as they are added, a rotated log, and names that are none."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.backends.backend import BackendError
from infra.backends.local.folders import StackFolder
from infra.backends.local.logs import follow_log, known_logs, last_lines


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    folder = StackFolder(tmp_path)
    folder.ensure()
    folder.log("redis").write_bytes(b"one\ntwo\n\xff three\n")
    return folder


def test_the_last_lines_whatever_bytes_they_have(folder: StackFolder) -> None:
    assert last_lines(folder, "redis", 2) == ["two", "\ufffd three"]
    assert last_lines(folder, "redis", 0) == []
    assert known_logs(folder) == [("redis", 16)]


@pytest.mark.parametrize("name", ["kafka", "../secrets/pgpass", "", "redis/../redis"])
def test_a_name_that_is_no_log_is_refused_with_those_there_are(folder: StackFolder, name: str) -> None:
    with pytest.raises(BackendError, match="there are: redis"):
        last_lines(folder, name, 1)


def test_lines_are_followed_across_rotation(folder: StackFolder) -> None:
    log = folder.log("redis")
    lines: Iterator[str] = follow_log(folder, "redis")
    waiting = threading.Thread(target=lambda: heard.append(next(lines)))
    heard: list[str] = []
    waiting.start()
    while waiting.is_alive():  # until the reader has opened the log and seen a line that was added after that
        with log.open("a") as file:
            file.write("four\n")
        waiting.join(0.05)
    assert heard == ["four"]
    log.rename(log.with_suffix(".log.1"))
    log.write_text("after\n")
    assert next(line for line in lines if line != "four") == "after"
