"""Another back end, chosen by its name: the command works with it, and nothing in `shardctl` knows of it.

It runs nothing and writes down what it is asked for; only the control database is real.
"""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from anyio import to_thread
from typer.testing import CliRunner

from infra.backends import catalog
from infra.backends.addresses import Endpoint
from infra.backends.backend import READY_TIMEOUT_S, Backend, BackendError, quiet
from infra.backends.cell_spec import ProcessSpec
from infra.security.keys import ROUTE_FILE
from shardctl.cli import make_app
from shardctl.errors import NotReachable
from shardctl.operations.catalog import KINDS
from shardctl.shardmap.redirect import await_routers, make_redirect
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import open_store
from shardctl.stack.bring_up import SERVERS_TIMEOUT_S
from shardctl.stack.current import control_dsn
from shardctl.stack.renew import RENEW_TIMEOUT_S
from tests.support.control_service import control_service
from tests.support.databases import TestDatabase
from tests.support.forged_audit import all_rows
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
    assert command.calls().index(["start", "control"]) < command.calls().index(["start", *OURS[1:]])
    assert command.calls()[-2:] == [["await_ready", *OURS[1:]], ["await_ready", "control"]]

    monkeypatch.delenv("SHARDCTL_BACKEND")  # where a stack was made is remembered
    assert command.json("status")["state"] == "running"
    with serving_control(control_database, command.state):
        assert [row["cell"] for row in command.json("cells", "list")] == ["cell-1", "cell-2"]
        assert command.json("cells", "list")[0]["api_urls"] == ["http://cell-1-api-1.example:8000"]
        added = command.json("cells", "add", "--reason", "more room")
        assert "restarted: router-1" in command.run("routers", "restart")
        assert command.json("cells", "cordon", "cell-1", "--reason", "test")["state"] == "cordoned"
        acts = [act["act"] for act in command.json("audit", "list")]
    assert acts == ["cells.cordon", "routers.restart", "cells.add", "stack.up"]
    assert added["cell"] == "cell-3"
    assert ["run_job", "cell-3", "cell", "migrate"] in command.calls()
    assert [row["state"] for row in command.json("routers", "list")] == ["ready"]
    assert ["renew", "router-1"] in command.calls()
    assert "reconcile_roles control-postgres" in command.run("logs", "calls")
    assert str(command.state / "other") in command.run("down")
    assert command.json("status")["state"] == "stopped"
    command.run("down", "--delete-data", "--yes")
    assert not (command.state / "other.backend").exists()
    with pytest.raises(NotReachable, match="there is no stack other"):
        command.run("status")


def test_a_change_of_settings_renews_one_process_after_the_other(command: Command) -> None:
    command.json("up")
    renewed_from = len(command.calls())
    shown = command.json("up", "--dry-run", "--risk-profile", "professional")
    assert shown["settings"] == {"risk_profile": {"before": "retail", "after": "professional"}}
    planned = {change["process"]: change["verb"] for change in shown["processes"]}
    assert {name for name, verb in planned.items() if verb == "renew"} == set(OURS[2:-1])
    assert len(command.calls()) == renewed_from
    command.json("up", "--risk-profile", "professional")
    calls = command.calls()[renewed_from:]
    assert [call[1] for call in calls if call[0] == "renew"] == [*OURS[2:-1], "exchange", "router-1"]
    assert [call[1:] for call in calls if call[0] == "stop_processes"] == [["control"]]  # nobody waits for it
    assert calls.index(["finish_renewal"]) < calls.index(["renew", "cell-1-api-1"])

    renewed_from = len(command.calls())
    command.json("up", "--clock-offset", "60")  # two processes must not be at different times
    verbs = [call[0] for call in command.calls()[renewed_from:]]
    assert verbs.index("stop_processes") < verbs.index("create") < verbs.index("start")
    assert "renew" not in verbs


def test_the_first_that_does_not_become_ready_ends_it_and_the_same_command_goes_on(
    command: Command, control_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.json("up")
    made = len(command.calls())
    monkeypatch.setenv("RECORDING_NEVER_READY", "cell-1-relay")
    with pytest.raises(BackendError, match="cell-1-relay was not renewed"):
        command.run("up", "--risk-profile", "professional")
    assert [call[1] for call in command.calls()[made:] if call[0] == "renew"] == ["cell-1-api-1", "cell-1-worker"]
    assert all_rows(control_database)[-1].outcome == "failed"
    waiting = [*OURS[4:-1], "exchange", "router-1"]  # the control service is renewed first
    doctor = json.loads(CliRunner().invoke(make_app(), ["doctor", "--json"]).stdout)
    assert [row["detail"] for row in doctor if row["check"] == "settings"] == [f"not yet taken by {', '.join(waiting)}"]

    monkeypatch.delenv("RECORDING_NEVER_READY")
    made = len(command.calls())
    command.json("up")
    assert [call[1] for call in command.calls()[made:] if call[0] == "renew"] == [
        name for name in waiting if name != "control"
    ]


class Following(RecordingBackend):
    """Its routers say which map they serve."""

    facts: Mapping[str, Any] = MappingProxyType({})

    async def readiness_facts(self, process: ProcessSpec) -> Mapping[str, Any]:
        return self.facts


@pytest.mark.anyio
async def test_nobody_is_stopped_before_every_router_has_the_map(command: Command) -> None:
    await to_thread.run_sync(lambda: command.json("up"))
    backend = Following("other", command.state / "other", quiet)
    elsewhere = replace(
        backend.addresses(),
        endpoints={**backend.addresses().endpoints, "cell-1-api-1": Endpoint("elsewhere.example", 9000)},
    )
    async with open_store(control_dsn(backend)) as store:
        before = await store.load()
        current = {"map_epoch": before.epoch + 1, "map_lineage": str(before.lineage)}
        backend.facts = current
        await make_redirect(backend)(elsewhere)
        after = await store.load()
        assert after.epoch == before.epoch + 1
        moved = after.cell("cell-1")
        assert moved is not None
        assert moved.api_urls == ("http://elsewhere.example:9000",)
        await make_redirect(backend)(elsewhere)
        assert (await store.load()).epoch == after.epoch, "repeated, it changes nothing"
        same = await register_cell(store, after, "cell-1", moved.api_urls, moved.operator_urls)
        assert same is after
    for behind in ({}, {**current, "map_epoch": before.epoch}, {**current, "map_lineage": "another"}):
        backend.facts = behind
        with pytest.raises(BackendError, match=r"these routers do not serve by epoch .* of the map: router-1"):
            await await_routers(backend, after, timeout_s=0.0)


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
    limits = (READY_TIMEOUT_S, RENEW_TIMEOUT_S, SERVERS_TIMEOUT_S)
    assert min(limits) > 20, "a router's drain and start, or initdb, on a busy machine"
