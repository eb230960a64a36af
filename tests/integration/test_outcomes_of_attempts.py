"""How an attempt ended, where that is easily said wrongly: an answer that was lost, a leader that knows no chain, and
an operation that another person has go on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from infra.backends.local.backend import LocalBackend
from infra.security.keys import OPERATOR_VERIFY_FILE, load_verify_ring
from infra.security.operator_token import OperatorClaims, verify_operator_token
from infra.security.roles import Role
from shardctl.audit.queries import Attempt, Wanted, Who
from shardctl.errors import NotReachable, Refused
from shardctl.operations.errors import RequestGivenUp
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step
from shardctl.operations.resources import StackResources
from shardctl.persons import Person, Way
from shardctl.service.app import ControlService
from tests.support.asgi import ask_asgi
from tests.support.control_service import AsyncClient, control_service, leading
from tests.support.cutting_proxy import CuttingProxy, cutting_proxy
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.forged_audit import as_root
from tests.support.who_says import who_says

pytestmark = pytest.mark.anyio
KEY = "the-key-of-the-lost-answer"


class Work:
    """One step, which fails until it is told not to; and what its cells would be told."""

    def __init__(self, before_planned: Callable[[], None] = lambda: None) -> None:
        self.is_broken = False
        self.told: list[OperatorClaims] = []
        self.before_planned = before_planned

    def kind(self) -> Kind[StackResources]:
        async def observe(_: StackResources, __: Document) -> Document:
            self.before_planned()
            return {}

        async def act(step: Step[StackResources]) -> None:
            async with step.resources.cells() as admin:
                self.told.append(read(step.resources, await admin.token("cell-1 POST /operator/v1/work")))
            if self.is_broken:
                raise Refused("the disk is full")

        def plan(_: Document, __: Document) -> Plan:
            return Plan("it", (PlannedStep("one", "act"),))

        return Kind("tests.work", 1, "Works.", lambda given: given, observe, plan, {"act": Action(act)})


def read(resources: StackResources, token: str) -> OperatorClaims:
    ring = load_verify_ring(resources.backend.keys_folder / OPERATOR_VERIFY_FILE)
    return verify_operator_token(ring, token, int(resources.clock.epoch_s()))


async def newest(service: ControlService) -> Attempt:
    return (await service.audit.newest(Wanted(limit=1)))[0]


def recorded(person: Person) -> Who:
    return Who(person.subject, person.role, person.way)


def ended(service: ControlService, outcome: str | None) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return (await newest(service)).outcome == outcome

    return holds


@pytest.fixture
async def proxy(control_database: TestDatabase) -> AsyncIterator[CuttingProxy]:
    address = conninfo_to_dict(control_database.leader_dsn)
    async with cutting_proxy(str(address["host"]), int(str(address["port"]))) as proxy:
        yield proxy


async def test_an_operation_whose_request_was_answered_with_a_fault_says_itself_how_it_ended(
    control_database: TestDatabase, proxy: CuttingProxy, backend: LocalBackend
) -> None:
    def arm() -> None:
        """Behind the attempt's own row, which carries the key too: the next reply is that of the commit."""
        proxy.replies_to_lose, work.before_planned = 1, lambda: None

    proxy.armed_by = KEY.encode()
    work = Work(before_planned=arm)
    port = conninfo_to_dict(control_database.leader_dsn)["port"]
    dsn = control_database.leader_dsn.replace(f":{port}/", f":{proxy.port}/")
    async with control_service(dsn, backend, {"tests.work": work.kind()}) as service:
        client = AsyncClient(service)
        with pytest.raises(NotReachable):
            await client.post("/v1/operations", {"kind": "tests.work", "idempotency_key": KEY})
        assert proxy.lost == 1, "the fault was never met"
        await eventually(ended(service, "done"))
        again = await client.post("/v1/operations", {"kind": "tests.work", "idempotency_key": KEY})
        assert not again["is_new"], "who asks again finds what was begun"
        found = await service.audit.newest(Wanted())
        number = again["operation_id"]
        assert [(each.outcome, each.detail) for each in found] == [
            ("done", f"it is operation {number} already"), ("done", f"operation {number}"),
        ]  # fmt: skip


async def test_what_comes_to_the_database_after_its_request_has_failed_begins_nothing(
    control_database: TestDatabase, backend: LocalBackend
) -> None:
    ann, work = Person("ann", Role.ADMIN, Way.SOCKET), Work()
    async with control_service(control_database.leader_dsn, backend, {"tests.work": work.kind()}) as service:
        attempts = service.audit

        async def given_up() -> int:
            who = recorded(ann)
            attempt = await attempts.begin(who, "tests.work", "it", reason=None, arguments={})
            assert await attempts.end_request(attempt, "failed", "no answer")
            assert not await attempts.end_request(attempt, "failed", "again")
            return attempt

        proposal = await service.submissions.propose("tests.work", {}, person=ann, reason=None)
        begin: dict[str, Any] = {"person": ann, "reason": None, "key": None, "expected": None}
        with pytest.raises(RequestGivenUp):
            await service.submissions.begin(proposal, attempt=await given_up(), **begin)
        assert work.told == []
        work.is_broken = True
        number, _ = await service.submissions.begin(proposal, attempt=None, **begin)
        await eventually(ended(service, "failed"))
        for change in (service.submissions.resume, service.submissions.cancel):
            with pytest.raises(RequestGivenUp):
                await change(number, attempt=await given_up(), person=ann, reason=None)


async def test_an_end_that_an_older_releases_leader_left_out_is_appended(
    control_database: TestDatabase, backend: LocalBackend
) -> None:
    work = Work()
    async with control_service(control_database.leader_dsn, backend, {"tests.work": work.kind()}) as service:
        lease = await leading(service)
        client = AsyncClient(service)
        await client.post("/v1/operations", {"kind": "tests.work"})
        await eventually(ended(service, "done"))
        assert await service.state.end_left_attempts(lease) == 0
        # What that release did: it recorded the attempt before us, and ended the operation without a word to the chain.
        who = recorded(Person("ann", Role.OPERATOR, Way.OIDC))
        attempt = await service.audit.begin(who, "tests.work", "it", reason=None, arguments={})
        as_root(control_database, f"update control.operations set attempt = {attempt}, detail = 'as it was asked'")
        await service.state.end_left_attempts(lease)  # perhaps after the leader's own watch
        found = await newest(service)
        assert found.outcome == "done"
        assert (found.number, found.subject, found.detail) == (attempt, "ann", "operation 1: as it was asked")
        assert await service.state.end_left_attempts(lease) == 0


async def test_cells_are_told_who_has_it_go_on_and_why_beside_the_first(
    control_database: TestDatabase, backend: LocalBackend
) -> None:
    work = Work()
    work.is_broken = True
    async with control_service(control_database.leader_dsn, backend, {"tests.work": work.kind()}) as service:
        app = service.create_app(who_says)

        async def ask(path: str, name: str, **body: Any) -> dict[str, Any]:
            headers = {"X-Role": "operator", "X-Name": name}
            status, _, said = await ask_asgi(app, "POST", f"/v1/operations{path}", body, headers=headers)
            assert status == 200, said
            return said  # type: ignore[no-any-return]

        begun = await ask("", "oidc:ann", kind="tests.work", reason="every quarter")
        await eventually(ended(service, "failed"))
        work.is_broken = False
        await ask(f"/{begun['operation_id']}/resume", "oidc:bob", reason="there is room again")
        await eventually(ended(service, "done"))
        first, again = work.told
        assert (first.subject, first.why) == ("oidc:ann", "every quarter")
        assert again.subject == "oidc:bob"
        assert again.why == f"there is room again (operation {begun['operation_id']} of oidc:ann: every quarter)"
        shown = await service.operations.read(begun["operation_id"])
        assert (shown.actor, shown.reason, shown.asked_by, shown.asked_because) == (
            "oidc:ann", "every quarter", "oidc:bob", "there is room again",
        )  # fmt: skip
