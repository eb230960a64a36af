"""The control service on its socket: who asks, what is planned, watched to its end; two of them; its database away."""

import asyncio
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from infra.backends.local.backend import LocalBackend
from infra.security.roles import Role
from shardctl.errors import Blocked, NotReachable, Refused, StillRunning, UsageError
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step
from shardctl.operations.resources import StackResources
from shardctl.persons import Person, Way
from shardctl.service.app import ControlService
from shardctl.service.executing import Executing
from shardctl.service.submissions import Proposal
from shardctl.watching import follow
from tests.support.control_service import AsyncClient, control_service, leading, own_name
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.killable_postgres import KillablePostgres
from tests.support.moved_metrics import assert_moved

pytestmark = pytest.mark.anyio


@dataclass
class Gate:
    """What the test kind's steps do: note their lease; the second waits until it is let through."""

    facts: dict[str, int] = field(default_factory=lambda: {"size": 3})
    done: list[tuple[int | None, str]] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    silences: int = 0
    """How often the leader still cannot read the facts."""

    def kind(self) -> Kind[StackResources]:
        async def act(step: Step[StackResources]) -> Document:
            name = step.arguments["name"]
            if name == "step 2":
                self.reached.set()
                await self.opened.wait()
            if self.failures:
                self.failures -= 1
                raise RuntimeError("once more")
            async with step.resources.changing():
                self.done.append((step.resources.lease, name))
            return {}

        async def observe(resources: StackResources, _: Document) -> Document:
            if resources.lease is not None and self.silences:
                self.silences -= 1
                raise NotReachable("nobody answers")
            return dict(self.facts)

        def plan(arguments: Document, facts: Document) -> Plan:
            if arguments.get("name") == "nobody":
                raise Refused("there is nobody")
            steps = (PlannedStep(f"step {n}", "act", {"name": f"step {n}"}) for n in range(1, facts["size"] + 1))
            return Plan("it", tuple(steps))

        return Kind("tests.wait", 1, "Waits.", lambda arguments: arguments, observe, plan, {"act": Action(act)})


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def service(control_database: TestDatabase, backend: LocalBackend, gate: Gate) -> AsyncIterator[ControlService]:
    kind = gate.kind()
    async with control_service(control_database.leader_dsn, backend, {kind.name: kind}) as running:
        yield running


def submission(**changes: Any) -> dict[str, Any]:
    return {"kind": "tests.wait", "arguments": {}, "reason": None, **changes}


async def watched(client: AsyncClient, number: int) -> list[dict[str, Any]]:
    return await asyncio.to_thread(lambda: list(follow(client.client, number)))


async def test_what_is_submitted_is_planned_executed_and_watched(service: ControlService, gate: Gate) -> None:
    client = AsyncClient(service)
    assert stat.S_IMODE(service.settings.socket.stat().st_mode) == 0o600
    shown = await client.post("/v1/operations", submission(dry_run=True))
    assert [step["key"] for step in shown["steps"]] == ["step 1", "step 2", "step 3"]
    assert (await client.get("/v1/operations"))["items"] == []

    gate.opened.set()
    gate.failures = gate.silences = 1
    begun = await client.post(
        "/v1/operations", submission(expected=shown["state_hash"], idempotency_key="k", reason="why")
    )
    events = await watched(client, begun["operation_id"])
    assert [event.get("event") for event in events] == [
        "pending", "running", "step_begun", "step_again", "step_begun", "step_done",
        "step_begun", "step_done", "step_begun", "step_done", "succeeded", None,
    ]  # fmt: skip
    assert (events[-1]["exit_code"], events[-1]["actor"]) == (0, own_name())
    again = await client.post("/v1/operations", submission(idempotency_key="k"))
    assert (again["operation_id"], again["is_new"]) == (begun["operation_id"], False)
    assert [name for _, name in gate.done] == ["step 1", "step 2", "step 3"]
    assert isinstance(service.executing, Executing)
    ann = Person("ann", Role.OPERATOR, Way.SOCKET)
    proposal = await service.submissions.propose("tests.wait", {}, person=ann, reason=None)
    assert isinstance(proposal, Proposal)
    assert proposal.state_hash == shown["state_hash"]
    for query, count in (("", 1), ("?kind=tests.wait", 1), ("?kind=cells.add", 0), ("?kind=tests.wait&active=true", 0)):
        assert len((await client.get(f"/v1/operations{query}"))["items"]) == count, query
    found = await client.get(f"/v1/operations/{begun['operation_id']}")
    assert [step["state"] for step in found["steps"]] == ["done"] * 3
    rendered = service.metrics.render()
    assert_moved(rendered, "shardctl_leading", "shardctl_lease_number")
    assert_moved(rendered, "shardctl_operations_ended_total", "shardctl_operation_failures_total")


async def test_refusals_say_their_exit_code(service: ControlService, gate: Gate) -> None:
    client = AsyncClient(service)
    with pytest.raises(UsageError, match="there is no kind x"):
        await client.post("/v1/operations", submission(kind="x"))
    with pytest.raises(Blocked, match="has changed"):
        await client.post("/v1/operations", submission(expected="0" * 64))
    with pytest.raises(Refused, match="there is nobody"):
        await client.post("/v1/operations", submission(arguments={"name": "nobody"}))
    with pytest.raises(Refused, match="no operation 7"):
        await client.get("/v1/operations/7")
    with pytest.raises(UsageError, match="a reason has"):
        await client.post("/v1/operations", submission(reason=""))
    with pytest.raises(Refused):
        await client.post("/v1/operations", {"kind": 1})
    number = (await client.post("/v1/operations", submission()))["operation_id"]
    with pytest.raises(Blocked, match=f"operation {number}"):
        await client.post("/v1/operations", submission())
    with pytest.raises(Blocked, match="another person"):
        await client.post(f"/v1/operations/{number}/approve", {})
    await gate.reached.wait()
    assert (await client.post(f"/v1/operations/{number}/cancel", {"reason": "no"}))["state"] == "running"
    with pytest.raises(StillRunning):
        await asyncio.to_thread(lambda: list(follow(client.client, number, until_s=0)))
    assert_moved(service.metrics.render(), "shardctl_operations_active")
    gate.opened.set()
    ended = (await watched(client, number))[-1]
    assert (ended["state"], ended["exit_code"]) == ("cancelled", 1)
    with pytest.raises(Refused):
        await client.post(f"/v1/operations/{number}/resume", {})


async def test_two_run_and_one_leads_and_the_other_takes_over_in_the_middle(
    control_database: TestDatabase, backend: LocalBackend, gate: Gate
) -> None:
    kinds = {kind.name: kind for kind in [gate.kind()]}
    async with control_service(control_database.leader_dsn, backend, kinds, name="second") as second:
        await leading(second)
        async with control_service(control_database.leader_dsn, backend, kinds, name="first") as first:
            begun = await AsyncClient(first).post("/v1/operations", submission())
            await gate.reached.wait()
            assert first.leader.lease is None
            with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
                root.execute("update control.leadership set expires_at = '-infinity'")  # as if it had been paused
            await leading(first)
            gate.opened.set()
            ended = (await watched(AsyncClient(second), begun["operation_id"]))[-1]
            assert ended["exit_code"] == 0
            assert gate.done[-1] == (ended["lease_number"], "step 3")
            assert ended["lease_number"] > 1
        await leading(second)
        assert_moved(second.metrics.render(), "shardctl_leases_ended_total")


async def test_its_database_is_away_in_the_middle(
    mortal_control_database: TestDatabase, mortal_postgres: KillablePostgres, backend: LocalBackend, gate: Gate
) -> None:
    kinds = {kind.name: kind for kind in [gate.kind()]}
    async with control_service(
        mortal_control_database.leader_dsn, backend, kinds, lease_life_s=2, lease_renewed_each_s=0.5
    ) as service:
        client = AsyncClient(service)
        begun = await client.post("/v1/operations", submission())
        await gate.reached.wait()
        await asyncio.to_thread(mortal_postgres.kill)
        gate.opened.set()

        async def is_deposed() -> bool:
            return service.leader.lease is None

        await eventually(is_deposed)
        with pytest.raises(NotReachable, match="does not answer"):
            await client.get("/v1/operations")
        await asyncio.to_thread(mortal_postgres.start)
        ended = (await watched(client, begun["operation_id"]))[-1]
        assert ended["exit_code"] == 0
        assert dict.fromkeys(name for _, name in gate.done).keys() == {"step 1", "step 2", "step 3"}
        leases = [lease for lease, _ in gate.done if lease is not None]
        assert leases == sorted(leases)
