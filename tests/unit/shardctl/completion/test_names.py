"""Names of stacks, contexts, cells, processes and operations; a broken file or a silent service offers nothing."""

import socket
import threading
from pathlib import Path

import pytest

from shardctl.completion.answer import Asked
from shardctl.completion.names import KINDS, StackNames, find_names, forget_names, names_file, remember_names
from shardctl.stack.noted_names import forget_noted_names, note_names
from tests.support.control_service import folder_stack

pytestmark = pytest.mark.anyio
ITEMS = b'{"items": [{"operation_id": 7, "kind": "cells.add", "target": "cell-3", "state": "running"}]}'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of stacks, in which `mine` is known."""
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("STACK", "CONTEXT", "FLAG_STACK", "FLAG_CONTEXT"):
        monkeypatch.delenv(f"SHARDCTL_{name}", raising=False)
    names = StackNames(("cell-1", "$(reboot)"), ("router-1", "cell-1-worker"), ("router-1",), str(tmp_path / "c.sock"))
    remember_names(tmp_path, "mine", names)
    (tmp_path / "mine.backend").write_text("local")
    return tmp_path


def found(kind: str, stack: str = "mine") -> list[str]:
    return [word for word, _ in find_names(Asked(kind, stack))]


def test_names_of_the_stack_that_the_line_means(root: Path) -> None:
    assert found("cells") == ["cell-1"], "a shell evaluates what is offered"
    assert found("processes") == ["router-1", "cell-1-worker"]
    assert found("routers") == ["router-1"]
    assert found("stacks") == ["mine"]
    assert found("cells", "other") == []
    assert names_file(root, "mine").stat().st_mode & 0o077 == 0


def test_names_of_contexts(root: Path) -> None:
    path = root / "config" / "cell-brokerage" / "shardctl.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[contexts.a]\nstack = "mine"\n')
    assert find_names(Asked("contexts")) == [("checkout", "the stack "), ("a", "the stack mine")]
    assert [word for word, _ in find_names(Asked("cells", context="a"))] == ["cell-1"]


@pytest.mark.parametrize("kind", sorted(KINDS | {"unknown"}))
@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'{"cells": 1}', b"\xff"])
def test_what_is_broken_is_not_offered(root: Path, kind: str, content: bytes) -> None:
    names_file(root, "mine").write_bytes(content)
    path = root / "config" / "cell-brokerage" / "shardctl.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert set(found(kind)) <= {"mine", "checkout"}


def test_a_stack_is_forgotten(root: Path) -> None:
    forget_names(root, "mine")
    forget_names(root, "mine")
    assert found("cells") == []


def test_operations_are_asked_of_the_service(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "c.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ITEMS), ITEMS))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert find_names(Asked("operations", "mine")) == [("7", "cells.add cell-3, running")]
        thread.join(10)
        assert found("operations") == [], "nobody answers now, and that is not waited for"


async def test_a_stack_is_noted_as_it_is_planned(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDCTL_STACK", "mine")
    backend = folder_stack(root)
    await note_names(backend)
    assert found("cells") == ["cell-1"]
    assert found("routers") == ["router-1", "router-2"]
    assert {"control", "cell-1-api-1"} <= set(found("processes"))
    forget_noted_names()
    assert not names_file(root, "mine").exists()
