"""What an operator does to the map, to a cell and to a user: asked of the control service, by the command itself."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from infra.backends.local.backend import LocalBackend
from infra.runtime.clock import SystemClock
from infra.security.roles import Role
from infra.topology.cells import CellState
from shardctl.audit.queries import Attempt, Wanted
from shardctl.cells.cordon import set_cell_state
from shardctl.cells.user_acts import set_profile
from shardctl.cli import make_app
from shardctl.commands.finding import find_user
from shardctl.control_client import ControlClient
from shardctl.errors import Interrupted, NotReachable, Refused, UsageError
from shardctl.operations.resources import StackResources
from shardctl.persons import Person, Way
from shardctl.service.acting import Acting
from shardctl.service.app import ControlService
from shardctl.shardmap import store
from shardctl.shardmap.locate import locate_in
from shardctl.shardmap.republish import republish_map
from tests.support.asgi import ask_asgi
from tests.support.bare_cell import Cell
from tests.support.control_service import control_service, folder_stack, own_name
from tests.support.databases import TestDatabase
from tests.support.decisions import quarantined_report, waiting_transfer
from tests.support.redis_server import redis_server
from tests.support.stack_with_a_cell import begin_map, stack_with_a_cell
from tests.support.who_says import who_says

pytestmark = pytest.mark.anyio

USER = uuid.UUID(int=7)


class Desk:
    """An operator at the command, and what was recorded of it."""

    def __init__(self, service: ControlService) -> None:
        self.service = service

    async def run(self, *words: str) -> Any:
        """The document that it prints. Raises what ends it."""
        done = await asyncio.to_thread(CliRunner().invoke, make_app(), [*words, "--json"])
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout)

    async def newest(self) -> Attempt:
        return (await self.service.audit.newest(Wanted(limit=1)))[0]

    async def recorded(self) -> tuple[str, str, str | None, str | None]:
        found = await self.newest()
        assert (found.subject, found.role, found.way) == (own_name(), "admin", "socket")
        return found.act, found.target, found.reason, found.outcome


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command here opens the control database: the record of this stack leads to none."""
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHARDCTL_STACK", "mine")


@pytest.fixture
async def desk(control_database: TestDatabase, tmp_path: Path) -> AsyncIterator[Desk]:
    """Nothing runs but the service and its database: no Redis, no cell."""
    await begin_map(control_database, {USER: "cell-1"})
    async with control_service(control_database.leader_dsn, folder_stack(tmp_path), {}) as service:
        yield Desk(service)


async def test_a_cell_takes_no_new_users_and_takes_them_again(desk: Desk) -> None:
    first = await desk.run("cells", "cordon", "cell-1", "--reason", "slow disk")
    assert first == {
        "cell": "cell-1", "state": "cordoned", "epoch": first["epoch"], "changed": True, "published": False,
        "cells_open": 0,
    }  # fmt: skip
    assert await desk.recorded() == ("cells.cordon", "cell-1", "slow disk", "done")
    again = await desk.run("cells", "cordon", "cell-1", "--reason", "slow disk")
    assert (again["changed"], again["epoch"]) == (False, first["epoch"])
    [row] = await desk.run("cells", "list")
    assert (row["cell"], row["state"], row["pins"]) == ("cell-1", "cordoned", 1)
    assert (await desk.run("cells", "uncordon", "cell-1", "--reason", "new disk"))["changed"]
    shown = await desk.run("map", "show", "--history", "2")
    newest = shown["history"][0]
    assert (newest["actor"], newest["reason"], shown["epoch"]) == (own_name(), "new disk", first["epoch"] + 1)
    with pytest.raises(Refused, match="no cell cell-9; it has cell-1"):
        await desk.run("cells", "cordon", "cell-9", "--reason", "x")
    assert await desk.recorded() == ("cells.cordon", "cell-9", "x", "refused")
    with pytest.raises(UsageError, match="read by others"):
        await desk.run("cells", "cordon", "cell-1", "--reason", "a\u202eb")


async def test_what_is_stopped_half_way_is_recorded_as_that(desk: Desk) -> None:
    """The tokens are void, but no cell runs that could end the sessions."""
    with pytest.raises(Interrupted, match=f"shardctl users revoke {USER} --reason 'a lost phone'"):
        await desk.run("users", "revoke", str(USER), "--reason", "a lost phone")
    assert await desk.recorded() == ("users.revoke", str(USER), "a lost phone", "interrupted")
    with pytest.raises(NotReachable, match="Redis does not answer"):
        await desk.run("map", "publish")
    assert await desk.recorded() == ("map.publish", "redis", None, "failed")
    with pytest.raises(Refused, match="nobody signed up as"):
        await desk.run("users", "revoke", "nobody@example.com", "--reason", "x")
    assert (await desk.newest()).act == "map.publish", "an email is looked up, and not kept"


async def test_a_connection_that_is_lost_at_the_change_leaves_its_outcome_open_to_whoever_asks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(store.ShardMapStore, "update_cell", lost)
    with pytest.raises(Interrupted, match="whether the change holds: `shardctl map show`"):
        await desk.run("cells", "cordon", "cell-1", "--reason", "x")
    assert await desk.recorded() == ("cells.cordon", "cell-1", "x", "interrupted")


async def test_what_an_act_does_not_change(control_database: TestDatabase, backend: LocalBackend, desk: Desk) -> None:
    acting = Acting(lambda actor, reason: stack_of(backend, control_database, actor, reason))
    on = acting.by(Person("ann", Role.OPERATOR, Way.OIDC), "x")
    async with on.map_store() as held:
        [cell] = (await held.load()).cells
        await held.update_cell(replace(cell, state=CellState.DRAINING), actor="ann", reason="a test")
    for wanted in (CellState.OPEN, CellState.CORDONED):
        with pytest.raises(Refused, match="cell-1 is draining"):
            await set_cell_state(on, "cell-1", wanted)
    with pytest.raises(NotReachable):
        await republish_map(on)
    with pytest.raises(Refused, match="neither a user id nor an email"):
        await on.locate("ann")
    places = [await on.locate(str(uuid.UUID(int=number))) for number in range(100, 120)]
    nobody = next(place.user_id for place in places if place.cell is None)
    async with on.map_store() as held:
        assert (await locate_in(held, backend, str(USER))).pinned
    with pytest.raises(Refused, match="no cell serves bucket"):
        await set_profile(on, nobody, "retail")


def stack_of(backend: LocalBackend, database: TestDatabase, actor: str, reason: str | None) -> StackResources:
    return StackResources(backend, SystemClock(), database.leader_dsn, None, actor, reason)


async def test_without_the_service_a_command_says_what_to_do(tmp_path: Path) -> None:
    """The stack does not run, so nobody is waited for."""
    folder_stack(tmp_path)
    for words in (["cells", "cordon", "cell-1", "--reason", "x"], ["map", "show"], ["users", "locate", str(USER)]):
        done = await asyncio.to_thread(CliRunner().invoke, make_app(), words)
        assert isinstance(done.exception, NotReachable)
        assert "`shardctl logs control`, `shardctl up`" in str(done.exception)


async def test_users_and_reports_by_their_own_cell(
    control_database: TestDatabase, cell_database: TestDatabase, cell: Cell, root: psycopg.Connection[Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    user = cell.user(cash=100)
    approved, refused = (waiting_transfer(root, user, key) for key in ("one", "other"))
    report = quarantined_report(root)
    await begin_map(control_database, {user: "cell-1"})
    with redis_server() as redis, stack_with_a_cell(tmp_path, cell_database, redis.url) as backend:
        async with control_service(control_database.leader_dsn, backend, {}) as service:
            desk = Desk(service)
            located = await desk.run("users", "locate", str(user))
            assert (located["user_id"], located["cell"], located["pinned"]) == (str(user), "cell-1", True)
            client = ControlClient(service.settings.socket)
            found = await asyncio.to_thread(find_user, client, str(user))
            assert (found["user_id"], found["cell"], found["bucket"]) == (str(user), "cell-1", located["bucket"])
            assert (await desk.run("users", "set-profile", str(user), "retail", "--reason", "x"))["profile"] == "retail"
            assert (await desk.newest()).arguments == {"profile": "retail"}
            assert not (await desk.run("users", "unrestrict", str(user), "--reason", "x"))["lifted"]
            done = await desk.run("users", "revoke", str(user), "--reason", "a lost phone")
            assert (done["cell"], done["sessions_ended"], done["routers_notified"]) == ("cell-1", 0, 0)
            for _ in range(2):
                decided = await desk.run("transfers", "approve", str(user), str(approved), "--reason", "confirmed")
            assert not decided["changed"]
            await desk.run("transfers", "refuse", str(user), str(refused), "--reason", "unknown")
            assert (await desk.newest()).arguments == {"transfer": str(refused)}
            with pytest.raises(Refused, match="TRANSFER_DECIDED"):
                await desk.run("transfers", "refuse", str(user), str(approved), "--reason", "too late")
            assert (await desk.run("cells", "retry-report", "cell-1", str(report), "--reason", "mended"))["order_id"]
            assert await desk.recorded() == ("cells.retry_report", "cell-1", "mended", "done")
            assert (await desk.newest()).arguments == {"report": str(report)}
            await desk.run("map", "publish", "--reason", "Redis was emptied")
            acts = (await desk.run("users", "show", str(user)))["account"]["acts"]
            assert {act["actor"] for act in acts} == {own_name()}, "the cell keeps who the service knew"
            assert "a lost phone" in {act["reason"] for act in acts}

            # A person elsewhere does it in their own name, and the cell keeps that one.
            app, headers = service.create_app(who_says), {"X-Role": Role.OPERATOR, "X-Name": "oidc:vera"}
            body = {"profile": "professional", "reason": "passed the test"}
            assert (await ask_asgi(app, "POST", f"/v1/users/{user}/profile", body, headers=headers))[0] == 200
            acts = (await desk.run("users", "show", str(user)))["account"]["acts"]
            assert ("oidc:vera", "passed the test") in [(act["actor"], act["reason"]) for act in acts]
