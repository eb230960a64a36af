"""Which release a command and a service are, what is said when they differ, and that another wire is not let in."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.backends.checkout import commit
from shardctl.cli import make_app
from shardctl.commands.version import version
from shardctl.release import HEADER, WIRE, Release, describe_skew, own_release, parse_release, refuse_wire
from shardctl.service.told_release import telling_release

A, B = "a" * 40, "b" * 40
X, Y = "a" * 12, "b" * 12
MINE = Release("0.10.1", 1, X)


def test_a_release_is_told_and_read() -> None:
    for release in (own_release(), MINE, Release("1.2rc1", 3, Y)):
        assert parse_release(release.header()) == release
    for other in (
        None,
        "",
        "0.1.0",
        "0.1.0; wire=x",
        "0.1.0; wire=1",
        f"0.1.0; wire=1; build={X[1:]}",
        f"{A}a; wire=1; build={X}",
    ):
        assert parse_release(other) is None
    assert str(MINE) == "0.10.1, build aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (MINE, None),
        (Release("0.9.9", 1, Y), "is newer than the control service (0.9.9, build bbbbbbbbbbbb): `shardctl up`"),
        (Release("0.11", 1, X), "is older than the control service (0.11, "),
        (Release("0.10.1", 1, Y), "(0.10.1, build bbbbbbbbbbbb) is another build than this command"),
        (None, "is older than this command (0.10.1, build aaaaaaaaaaaa): it does not say its release"),
    ],
)
def test_another_release_is_said_in_a_sentence(service: Release | None, said: str | None) -> None:
    found = describe_skew(MINE, service)
    assert found is None if said is None else (found is not None and said in found)


def test_another_wire_is_refused_with_who_is_older() -> None:
    assert refuse_wire(MINE, Release("0.2", 1, X)) is None
    newer, older = refuse_wire(MINE, Release("0.11", 2, X)), refuse_wire(MINE, Release("0.2", 0, X))
    assert "speak wire 2 and 1; use the command of" in str(newer)
    assert ("is too new for" in str(newer), "is too old for" in str(older)) == (True, True)


class Asked:
    """An application that notes that it was reached, and what is sent."""

    def __init__(self) -> None:
        self.reached = 0
        self.sent: list[Any] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached += 1
        await send({"type": "http.response.start", "status": 404, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"x"})

    async def note(self, message: Any) -> None:
        self.sent.append(message)

    def ask(self, *headers: tuple[bytes, bytes], kind: str = "http") -> Any:
        asyncio.run(telling_release(self.app, MINE)({"type": kind, "headers": headers}, None, self.note))
        return self.sent[0]


@pytest.mark.parametrize("told", [None, b"nonsense", MINE.header().encode(), b"0.1.0; wire=1; build=aaaaaaaaaaaa"])
def test_every_answer_tells_the_release(told: bytes | None) -> None:
    asked = Asked()
    start = asked.ask(*([] if told is None else [(HEADER.lower().encode(), told)]))
    assert start["headers"] == [(b"a", b"b"), (b"control-release", MINE.header().encode())]
    assert (asked.reached, start["status"]) == (1, 404)


def test_another_wire_is_let_in_no_further() -> None:
    asked = Asked()
    start = asked.ask((b"control-release", f"9.0.0; wire={WIRE + 1}; build={X}".encode()))
    assert (asked.reached, start["status"]) == (0, 426)
    assert (b"control-release", MINE.header().encode()) in start["headers"]
    document = json.loads(asked.sent[1]["body"])
    assert (document["exit_code"], document["code"]) == (3, "OTHER_WIRE")
    assert "9.0.0" in document["detail"]


def test_what_is_no_request_passes() -> None:
    assert Asked().ask(kind="lifespan")["headers"] == [(b"a", b"b")]


def test_the_command_says_its_release() -> None:
    runner = CliRunner()
    line = runner.invoke(make_app(), ["--version"]).output
    assert line == runner.invoke(make_app(), ["version"]).output
    assert line.startswith(f"shardctl {own_release()}, ")
    assert ", Python 3." in line
    found = json.loads(runner.invoke(make_app(), ["version", "--json"]).output)
    assert Release(found["version"], found["wire"], found["build"]) == own_release()
    assert version.__doc__


def test_the_commit_is_read_from_gits_own_files(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit(tmp_path) is None
    (git / "packed-refs").write_text(f"# pack-refs\n{B} refs/heads/other\n{A} refs/heads/main\n^{B}\n")
    assert commit(tmp_path) == A
    (git / "refs" / "heads" / "main").write_text(f"{B}\n")
    assert commit(tmp_path) == B
    (git / "HEAD").write_text(f"{A}\n")
    assert commit(tmp_path) == A
    (git / "HEAD").write_text("what is this\n")
    assert commit(tmp_path) is None


def test_the_commit_of_a_further_worktree(tmp_path: Path) -> None:
    folder = tmp_path / "first" / ".git" / "worktrees" / "second"
    folder.mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/second\n")
    (folder / "commondir").write_text("../..\n")
    heads = tmp_path / "first" / ".git" / "refs" / "heads"
    heads.mkdir(parents=True)
    (heads / "second").write_text(f"{A}\n")
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / ".git").write_text(f"gitdir: {folder}\n")
    assert commit(tmp_path / "second") == A
