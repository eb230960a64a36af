"""The kinds of operations on a stack that is a folder and a control database: what their steps leave, done twice."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.backends.backend import BackendError, Overtaken
from infra.backends.cell_spec import CellSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.fence import fenced_lock
from infra.backends.plan import own_keys
from infra.runtime.clock import SystemClock
from infra.security.cell_keys import follow_public_keys
from infra.security.keys import CERTIFICATE_SIGNING_FILE, load_signing_ring
from infra.security.rotation import SHARED, Rotated, list_keys
from infra.security.signed_document import sign_document, verify_document
from shardctl.audit.queries import Wanted, open_audit
from shardctl.errors import Refused, UsageError
from shardctl.operations.catalog import KINDS
from shardctl.operations.errors import LeaseLost
from shardctl.operations.kinds import keys_rotate
from shardctl.operations.kinds.cells_add import CELLS_ADD
from shardctl.operations.kinds.keys_rotate import KEYS_ROTATE
from shardctl.operations.kinds.keys_rotated import changes_of
from shardctl.operations.plan import Document, PlannedStep, Step
from shardctl.operations.resources import StackResources, unfenced_resources
from shardctl.operations.unrecorded import run_unrecorded
from shardctl.shardmap.errors import StaleEpoch
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import open_store
from shardctl.shardmap.tell_cells import keys_of_cell
from shardctl.watching import follow
from tests.support.control_service import AsyncClient, control_service, folder_stack
from tests.support.databases import TestDatabase
from tests.support.redis_server import redis_server

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture
def backend(tmp_path: Path, redis_url: str) -> LocalBackend:
    return folder_stack(tmp_path, redis_url=redis_url)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_rotate, "SETTLE_S", 0.0)


def states(backend: LocalBackend, ring: Rotated) -> list[str]:
    return sorted(row.state for row in list_keys(backend.folder.keys, ring))


async def ended(client: AsyncClient, kind: str, arguments: Document) -> dict[str, Any]:
    number = (await client.post("/v1/operations", {"kind": kind, "arguments": arguments, "reason": "why"}))[
        "operation_id"
    ]
    await asyncio.to_thread(lambda: list(follow(client.client, number)))
    return await client.get(f"/v1/operations/{number}")


async def test_keys_are_rotated_and_recorded_without_a_secret(
    control_database: TestDatabase, backend: LocalBackend
) -> None:
    async with control_service(control_database.leader_dsn, backend, KINDS) as service:
        found = await ended(AsyncClient(service), "keys.rotate", {"rings": ["route"], "drop_old": True})
    assert (found["state"], found["detail"]) == ("succeeded", None)
    assert states(backend, Rotated.ROUTE) == ["active"]
    ((ring, kid, dropped),) = changes_of({step["key"]: step["result"] for step in found["steps"]})
    assert (ring, [row.kid for row in list_keys(backend.folder.keys, Rotated.ROUTE)]) == ("route", [kid])
    assert len(dropped) == 1
    async with open_audit(control_database.owner_dsn) as audit:
        [act] = await audit.newest(Wanted())
    assert (act.act, act.target, act.reason, act.outcome) == ("keys.rotate", "the stack", "why", "done")
    assert act.arguments == {"rings": ["route"], "drop_old": True}
    assert act.detail == f"operation {found['operation_id']}"
    with psycopg.connect(control_database.superuser_dsn) as root:
        rows = root.execute("select o::text, s::text from control.operations o, control.operation_steps s").fetchall()
    kept = repr(rows)
    for path in backend.folder.keys.glob("*.json"):
        for secret in path.read_text().split('"'):
            assert len(secret) < 40 or secret not in kept, path


async def test_a_rotation_without_a_record(backend: LocalBackend) -> None:
    resources = unfenced_resources(backend, SystemClock(), "postgresql://127.0.0.1:1/x")
    results = await run_unrecorded(KEYS_ROTATE, resources, {"rings": None, "drop_old": True})
    assert len(changes_of(results)) == len(SHARED)
    assert [states(backend, ring) for ring in SHARED] == [["active"]] * len(SHARED)


@dataclass
class Ran:
    """Steps of one plan, run as an executor does that is killed after each act and tries it again."""

    resources: StackResources
    results: dict[str, Document]

    async def twice(self, kind: Any, planned: PlannedStep) -> None:
        action = kind.actions[planned.action]
        intent: Document = await action.decide(self.step(planned)) if action.decide else {}
        first = await action.act(self.step(planned, intent)) or {}
        second = await action.act(self.step(planned, intent)) or {}
        assert first == second or planned.action == "make_topics", planned
        self.results[planned.key] = second

    async def undo(self, kind: Any, planned: PlannedStep) -> None:
        if kind.actions[planned.action].undo:
            await kind.actions[planned.action].undo(self.step(planned))
            await kind.actions[planned.action].undo(self.step(planned))

    def step(self, planned: PlannedStep, intent: Document | None = None) -> Step[StackResources]:
        async def checkpoint(_: Document, __: str) -> None: ...

        return Step(self.resources, planned.arguments, intent or {}, {}, self.results, checkpoint)


@pytest.fixture
async def ran(control_database: TestDatabase, backend: LocalBackend) -> Ran:
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        root.execute("update control.leadership set number = 7, expires_at = clock_timestamp() + interval '1 hour'")
    async with open_store(control_database.owner_dsn) as store:
        await store.create_lineage()
    return Ran(StackResources(backend, SystemClock(), control_database.leader_dsn, 7, "ann", "why"), {})


@pytest.mark.parametrize("drop_old", [False, True])
async def test_every_step_of_a_rotation_may_be_done_twice(ran: Ran, backend: LocalBackend, drop_old: bool) -> None:
    arguments = KEYS_ROTATE.parse({"drop_old": drop_old})
    for planned in KEYS_ROTATE.plan(arguments, await KEYS_ROTATE.observe(ran.resources, arguments)).steps:
        await ran.twice(KEYS_ROTATE, planned)
    expected = ["active"] if drop_old else ["active", "retired"]
    assert [states(backend, ring) for ring in SHARED] == [expected] * len(SHARED)


async def test_a_rotation_that_is_called_off_leaves_the_keys_as_they_were(ran: Ran, backend: LocalBackend) -> None:
    arguments = KEYS_ROTATE.parse({})
    before = [list_keys(backend.folder.keys, ring) for ring in SHARED]
    steps = KEYS_ROTATE.plan(arguments, await KEYS_ROTATE.observe(ran.resources, arguments)).steps
    for planned in steps[:3]:
        await ran.twice(KEYS_ROTATE, planned)
    assert states(backend, Rotated.ROUTE) == ["active", "added"]
    for planned in reversed(steps[:3]):
        await ran.undo(KEYS_ROTATE, planned)
    assert [list_keys(backend.folder.keys, ring) for ring in SHARED] == before


async def test_a_cells_own_key_is_known_everywhere_before_it_signs_and_the_old_one_for_ever(
    ran: Ran, control_database: TestDatabase, backend: LocalBackend
) -> None:
    keys, urls = backend.folder.keys, (("http://127.0.0.1:1",), ("http://127.0.0.1:2",))
    own = own_keys(keys, "cell-1")
    async with open_store(control_database.owner_dsn) as store:
        public = keys_of_cell(keys, "cell-1")
        await register_cell(store, await store.load(), "cell-1", *urls, signing_keys=public, by="ann")
    texts = [sign_document(load_signing_ring(own / CERTIFICATE_SIGNING_FILE), "a-form", "cell-1", {})]
    arguments = KEYS_ROTATE.parse({"rings": ["cell"]})
    steps = KEYS_ROTATE.plan(arguments, await KEYS_ROTATE.observe(ran.resources, arguments)).steps
    assert [step.action for step in steps] == ["add", "tell", "settle", "activate"]
    for planned in steps:
        await ran.twice(KEYS_ROTATE, planned)
        known = len(follow_public_keys(keys).current().keys)
        assert known == (0 if planned.action == "add" else 2), "nobody signs with what the cells do not know"
    texts.append(sign_document(load_signing_ring(own / CERTIFICATE_SIGNING_FILE), "a-form", "cell-1", {}))
    assert texts[0] != texts[1]
    for text in texts:
        assert verify_document(follow_public_keys(keys), "a-form", text) == ("cell-1", {})
    assert sorted(row.state for row in list_keys(own, Rotated.CELL)) == ["active", "retired"]
    assert changes_of(ran.results) == [("cell-1", ran.results[steps[0].key]["kid"], [])]
    for mixed in ({"rings": ["cell", "route"]}, {"rings": ["cell"], "drop_old": True}):
        with pytest.raises(UsageError, match="stays valid"):
            KEYS_ROTATE.parse(mixed)
    with pytest.raises(Refused, match="no cells"):
        KEYS_ROTATE.plan(arguments, {})


async def test_a_cell_enters_the_map_once_and_is_not_taken_away_then(ran: Ran, backend: LocalBackend) -> None:
    facts = {"is_running": True, "cells": [{"name": "cell-0", "apis": 1}]}
    make, *_, register, publish = CELLS_ADD.plan(CELLS_ADD.parse({"cell": "cell-1"}), facts).steps
    assert register.is_irrevocable
    await ran.twice(CELLS_ADD, register)
    await ran.twice(CELLS_ADD, publish)
    assert ran.results["tell the routers"] == {"published": True}
    with pytest.raises(Refused, match="not taken away"):
        await ran.undo(CELLS_ADD, make)
    assert CellSpec("cell-1") in backend.spec().cells


async def test_registering_changes_the_map_only_if_there_is_something_to_change(
    ran: Ran, control_database: TestDatabase, backend: LocalBackend
) -> None:
    addresses = backend.addresses()
    urls = addresses.api_urls(CellSpec("cell-1")), addresses.operator_urls(CellSpec("cell-1"))
    async with open_store(control_database.owner_dsn) as store:
        empty = await store.load()
        first = await register_cell(store, empty, "cell-1", *urls, by="ann")
        again = await register_cell(store, first, "cell-1", *urls, by="ann")
        assert (first.epoch, again.epoch) == (empty.epoch + 1, empty.epoch + 1)
        with pytest.raises(StaleEpoch):
            await register_cell(store, empty, "cell-1", *urls, by="ann")


async def test_a_former_leader_changes_neither_keys_nor_map(
    ran: Ran, control_database: TestDatabase, backend: LocalBackend
) -> None:
    (add, *_), register = KEYS_ROTATE.plan(KEYS_ROTATE.parse({}), {}).steps, _register_step()
    await ran.twice(KEYS_ROTATE, add)
    async with fenced_lock(backend.folder, 8):
        pass  # the next leader has changed something
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        root.execute("update control.leadership set number = 8")
    keys = {path: path.read_bytes() for path in backend.folder.keys.rglob("*.json")}
    for kind, planned in ((KEYS_ROTATE, add), (CELLS_ADD, register)):
        with pytest.raises(LeaseLost):
            await kind.actions[planned.action].act(ran.step(planned))
    assert keys == {path: path.read_bytes() for path in backend.folder.keys.rglob("*.json")}
    async with open_store(control_database.owner_dsn) as store:
        assert (await store.load()).cells == ()


def _register_step() -> PlannedStep:
    facts = {"is_running": True, "cells": []}
    return next(
        step for step in CELLS_ADD.plan(CELLS_ADD.parse({"cell": "cell-1"}), facts).steps if step.action == "register"
    )


async def test_the_fence_is_held_by_the_stacks_record_and_its_lock(backend: LocalBackend) -> None:
    async with fenced_lock(backend.folder, 3):
        with pytest.raises(BackendError, match="another command"):
            async with fenced_lock(backend.folder, 4, wait_s=0.2):
                raise AssertionError("two at once")
    with pytest.raises(Overtaken):
        async with backend.fenced(2):
            raise AssertionError("a former leader")
    async with backend.fenced(None):
        assert backend.record().leader_number == 3
