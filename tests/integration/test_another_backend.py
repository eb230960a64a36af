"""Another back end, chosen by its name: the command works with it, and nothing in `shardctl` knows of it.

It runs nothing and writes down what it is asked for; only the control database is real.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.backends import catalog
from infra.backends.backend import Backend, BackendError, quiet
from infra.security.keys import ROUTE_FILE
from shardctl.cli import make_app
from shardctl.errors import NotReachable
from shardctl.operations.catalog import KINDS
from shardctl.stack import bring_up
from tests.support.control_service import control_service
from tests.support.databases import TestDatabase
from tests.support.recording_backend import NAME, RecordingBackend

OURS = (
    "control",
    "exchange",
    *(f"{cell}-{role}" for cell in ("cell-1", "cell-2") for role in ("api-1", "worker", "relay")),
    "router-1",
)


class Command:
    def __init__(self, state: Path) -> None:
        self.state = state

    def run(self, *arguments: str) -> str:
        done = CliRunner().invoke(make_app(), list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def calls(self) -> list[list[str]]:
        return RecordingBackend("other", self.state / "other", quiet).calls()


@pytest.fixture
def command(control_database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHARDCTL_STACK", "other")
    monkeypatch.setenv("SHARDCTL_BACKEND", NAME)
    monkeypatch.setenv("RECORDING_OWNER_DSN", control_database.owner_dsn)
    monkeypatch.setenv("RECORDING_SERVICE_DSN", control_database.service_dsn)
    monkeypatch.setenv("RECORDING_AUDITOR_DSN", control_database.auditor_dsn)
    monkeypatch.setenv("RECORDING_LEADER_DSN", control_database.leader_dsn)
    return Command(tmp_path)


@contextmanager
def serving_control(database: TestDatabase, state: Path) -> Iterator[None]:
    """The control service of the stack, which this back end does not run."""
    backend = RecordingBackend("other", state / "other", quiet)
    begun, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with control_service(database.leader_dsn, backend, KINDS):
            begun.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        ended.set()
        thread.join()


def test_a_stack_lives_on_it_from_up_to_the_end(
    command: Command, control_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = command.json("up")
    assert [(row["name"], row["state"]) for row in up["processes"]] == [(name, "running") for name in OURS]
    verbs = [call[0] for call in command.calls()]
    assert verbs[:2] == ["create", "publish_keys"]
    assert ROUTE_FILE in command.calls()[1]
    assert ["reconcile_roles", "control-postgres"] in command.calls()
    assert ["run_job", "cell-2", "cell", "migrate"] in command.calls()
    assert ["run_job", "", "shardctl", "migrate"] in command.calls()
    assert ["start", *OURS] in command.calls()
    assert command.calls()[-2:] == [["await_ready", *OURS[1:]], ["await_ready", "control"]]

    monkeypatch.delenv("SHARDCTL_BACKEND")  # where a stack was made is remembered
    assert command.json("status")["state"] == "running"
    assert [row["cell"] for row in command.json("cells", "list")] == ["cell-1", "cell-2"]
    assert command.json("cells", "list")[0]["api_urls"] == ["http://cell-1-api-1.example:8000"]
    with serving_control(control_database, command.state):
        added = command.json("cells", "add")
        assert "restarted: router-1" in command.run("routers", "restart")
    assert added["cell"] == "cell-3"
    assert ["run_job", "cell-3", "cell", "migrate"] in command.calls()
    assert command.json("cells", "cordon", "cell-1", "--reason", "test")["state"] == "cordoned"
    assert [row["state"] for row in command.json("routers", "list")] == ["ready"]
    assert ["renew", "router-1"] in command.calls()
    assert "reconcile_roles control-postgres" in command.run("logs", "calls")
    acts = [act["act"] for act in command.json("acts", "list")]
    assert acts == ["cordon_cell", "restart_routers", "add_cell", "bring_up_stack"]
    assert str(command.state / "other") in command.run("down")
    assert command.json("status")["state"] == "stopped"
    command.run("down", "--delete-data", "--yes")
    assert not (command.state / "other.backend").exists()
    with pytest.raises(NotReachable, match="there is no stack other"):
        command.run("status")


def test_the_doctor_shows_what_it_says_of_itself(command: Command) -> None:
    command.json("up")
    command.run("down")
    done = CliRunner().invoke(make_app(), ["doctor", "--json"])
    found = json.loads(done.stdout)
    assert [(row["check"], row["detail"]) for row in found] == [("recorder", "listens"), ("stack", "does not run")]


def test_one_name_means_one_stack(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command.json("up")
    monkeypatch.setenv("SHARDCTL_BACKEND", "local")
    with pytest.raises(BackendError, match=r"the stack other was made on '.*', not on 'local'"):
        command.run("up")


def test_it_fulfils_the_protocols(tmp_path: Path) -> None:
    made: Backend = RecordingBackend("typed", tmp_path, quiet)  # mypy compares them
    opened = catalog.open_backend(NAME, "typed", tmp_path)
    assert (opened.stack, opened.exists()) == (made.stack, made.exists()) == ("typed", False)
    assert bring_up.READY_TIMEOUT_S > 0
