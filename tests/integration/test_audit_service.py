"""The control service records who attempts what before it does it, what it refuses too; commands read and prove it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from litestar import Litestar, post
from typer.testing import CliRunner

from infra.backends.local.backend import LocalBackend
from infra.runtime.kafka_admin import ensure_topics
from infra.runtime.procedures import DatabaseAway
from infra.runtime.settings import KafkaSettings
from infra.runtime.telemetry import Metrics
from shardctl.audit import fetch
from shardctl.audit.heads import read_heads
from shardctl.audit.queries import Attempt, Wanted
from shardctl.cli import make_app
from shardctl.commands import audit, exporting, verifying
from shardctl.control_client import ControlClient
from shardctl.errors import Blocked, NotReachable, Refused, UsageError
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step
from shardctl.operations.resources import StackResources
from shardctl.service.app import ControlService
from shardctl.service.auditing import DESCRIBE, AuditedRequests, EndpointNotDescribed, check_described
from shardctl.service.metrics import METRICS
from shardctl.service.schedules import SCHEDULES, Schedules
from shardctl.watching import follow
from tests.support.asgi import ask_asgi
from tests.support.control_service import AsyncClient, control_service, leading, own_name
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.forged_audit import all_rows, as_root, rewrite_tail
from tests.support.kafka_broker import KafkaBroker
from tests.support.killable_postgres import KillablePostgres
from tests.support.moved_metrics import assert_moved
from tests.support.who_says import who_says

pytestmark = pytest.mark.anyio


class Seen:
    """What a kind's planner and its step find in the chain while they work."""

    def __init__(self) -> None:
        self.service: ControlService | None = None
        self.while_planned: list[Attempt] = []
        self.done = 0
        self.opened = asyncio.Event()

    def kind(self) -> Kind[StackResources]:
        async def observe(_: StackResources, __: Document) -> Document:
            assert self.service is not None
            self.while_planned = await self.service.audit.newest(Wanted())
            return {}

        async def act(_: Step[StackResources]) -> None:
            await self.opened.wait()
            self.done += 1

        def plan(arguments: Document, _: Document) -> Plan:
            if arguments.get("cell") == "nobody":
                raise Refused("there is nobody")
            return Plan("it", (PlannedStep("one", "act"),))

        return Kind(
            "tests.wait", 1, "Waits.", lambda given: given, observe, plan, {"act": Action(act)}, needs_reason=True
        )


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def service(control_database: TestDatabase, backend: LocalBackend, seen: Seen) -> AsyncIterator[ControlService]:
    kind = seen.kind()
    async with control_service(control_database.leader_dsn, backend, {kind.name: kind}) as running:
        seen.service = running
        yield running


def wanted(**changes: Any) -> dict[str, Any]:
    return {"kind": "tests.wait", "arguments": {"cell": "cell-1"}, "reason": "why", **changes}


async def newest(service: ControlService, limit: int = 20) -> list[Attempt]:
    return await service.audit.newest(Wanted(limit=limit))


async def test_an_attempt_is_there_before_it_is_judged_and_its_end_is_the_operations(
    service: ControlService, seen: Seen
) -> None:
    client = AsyncClient(service)
    begun = await client.post("/v1/operations", wanted())
    [attempt] = seen.while_planned
    assert (attempt.subject, attempt.role, attempt.way) == (own_name(), "admin", "socket")
    assert (attempt.act, attempt.target, attempt.reason) == ("tests.wait", "cell-1", "why")
    assert (attempt.arguments, attempt.outcome) == ({"cell": "cell-1"}, None)
    assert [each.outcome for each in await newest(service)] == [None], "it goes on"
    seen.opened.set()
    await asyncio.to_thread(lambda: list(follow(client.client, begun["operation_id"])))
    [ended] = await newest(service)
    assert (ended.outcome, ended.detail) == ("done", f"operation {begun['operation_id']}")
    assert seen.done == 1


async def test_what_is_refused_is_recorded_with_why(service: ControlService, seen: Seen) -> None:
    client = AsyncClient(service)
    number = (await client.post("/v1/operations", wanted(idempotency_key="k")))["operation_id"]
    refusals: list[tuple[str, dict[str, Any], type[Exception], str]] = [
        ("", wanted(expected="0" * 64), Blocked, "has changed"),
        ("", wanted(), Blocked, f"operation {number}"),
        ("", wanted(arguments={"cell": "nobody"}), Refused, "nobody"),
        ("", wanted(kind="x.y"), UsageError, "no kind"),
        ("", wanted(reason=None), UsageError, "--reason"),
        ("", {"kind": 1}, Refused, "kind"),
        (f"/{number}/approve", {"reason": "why"}, Blocked, "another person"),
        (f"/{number}/cancel", {}, UsageError, "--reason"),
        ("/999/resume", {"reason": "why"}, Refused, "no operation 999"),
    ]
    for path, body, error, why in refusals:
        with pytest.raises(error):
            await client.post(f"/v1/operations{path}", body)
        attempt = (await newest(service, 1))[0]
        assert attempt.outcome == "refused", (path, body)
        assert why in str(attempt.detail)
    assert (await newest(service, 1))[0].target == "operation 999"
    again = await client.post("/v1/operations", wanted(idempotency_key="k"))
    assert again["operation_id"] == number
    assert (await newest(service, 1))[0].detail == f"it is operation {number} already"
    await client.post("/v1/operations", wanted(dry_run=True))
    shown = (await newest(service, 1))[0]
    assert (shown.outcome, shown.detail, shown.arguments["dry_run"]) == ("done", "dry run", True)
    await client.post(f"/v1/operations/{number}/cancel", {"reason": "a mistake"})
    cancelled = (await newest(service, 1))[0]
    assert (cancelled.act, cancelled.reason, cancelled.outcome) == ("operations.cancel", "a mistake", "done")
    seen.opened.set()
    assert_moved(service.metrics.render(), "shardctl_audited_requests_total")


def changing_routes(app: Litestar) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        for method in getattr(route, "methods", ()):
            if method not in ("GET", "HEAD", "OPTIONS"):
                path = re.sub(r"{\w+:int}", "7", re.sub(r"{\w+:uuid}", str(UUID(int=7)), route.path))
                yield method, path.replace("{cell:str}", "cell-9")


async def test_every_route_that_may_change_something_leaves_a_row_whatever_it_is_sent(service: ControlService) -> None:
    client = ControlClient(service.settings.socket)
    routes = list(changing_routes(service.create_app(who_says)))
    assert len(routes) >= 4
    for method, path in routes:
        for body in (b"", b"nonsense", b"[1]", b"{}", b'{"kind": "x.y", "reason": "\\u0000"}', b"[" * 50_000):
            before = (await service.audit.head()).number
            with pytest.raises((Refused, UsageError, NotReachable)):
                await asyncio.to_thread(client._request, method, path, body)
            rows = await service.audit.rows(before)
            assert [(row.number - before, row.outcome) for row in rows] == [(1, None), (2, "refused")], (path, body)
    before = (await service.audit.head()).number
    for path in ("/v1/operations", "/v1/schedules", "/v1/audit", "/v1/audit/rows", "/v1/audit/head"):
        await asyncio.to_thread(client.get, path)
    assert (await service.audit.head()).number == before, "reading is no attempt"


async def test_what_is_longer_than_a_body_may_be_is_refused_whole(service: ControlService) -> None:
    """Sent in chunks it has no length. White space up to the limit, and an act behind it, must not be that act."""
    reader, writer = await asyncio.open_unix_connection(service.settings.socket)
    act = json.dumps({"act": "x", "target": "y", "role": "admin", "reason": "z"}).encode()
    writer.write(b"POST /v1/operator-tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for chunk in (b" " * 65_536,) * 24 + (act,):
        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    writer.write(b"0\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 30)).split()[1] == b"413"
    writer.close()
    [attempt] = await newest(service)
    assert (attempt.outcome, attempt.act) == ("refused", "tokens.sign")


def test_an_endpoint_that_does_not_say_how_it_is_recorded_keeps_the_service_from_starting() -> None:
    @post("/v1/new", sync_to_thread=False)
    def forgotten() -> None: ...

    @post("/v1/new", opt={DESCRIBE: lambda path, body: None}, sync_to_thread=False)
    def described() -> None: ...

    with pytest.raises(EndpointNotDescribed, match="POST /v1/new"):
        check_described(Litestar([forgotten]))
    check_described(Litestar([described]))
    assert AuditedRequests.__doc__


async def test_who_is_not_known_is_counted_and_makes_no_row(service: ControlService) -> None:
    app = service.create_app(who_says)
    for method, path in changing_routes(app):
        assert (await ask_asgi(app, method, path, {}))[0] == 401
    assert_moved(service.metrics.render(), "shardctl_unauthenticated_total")
    assert (await service.audit.head()).number == 0


async def test_a_person_whose_role_does_not_reach_is_recorded_with_it(service: ControlService) -> None:
    app = service.create_app(who_says)
    headers = {"X-Role": "viewer", "X-Name": "oidc:vera"}
    assert (await ask_asgi(app, "POST", "/v1/operations", wanted(), headers=headers))[0] == 403
    [refused] = await newest(service)
    assert (refused.subject, refused.role, refused.way) == ("oidc:vera", "viewer", "oidc")
    assert (refused.act, refused.outcome) == ("tests.wait", "refused")
    assert "needs the role operator" in str(refused.detail)


async def test_an_outcome_that_cannot_be_recorded_takes_nothing_back(
    service: ControlService, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> bool:
        raise DatabaseAway("gone in between")

    monkeypatch.setattr(service.audit, "end", away)
    shown = await AsyncClient(service).post("/v1/operations", wanted(dry_run=True))
    assert shown["steps"]
    assert [each.outcome for each in await newest(service)] == [None]


async def test_what_cannot_be_recorded_is_not_done(
    mortal_control_database: TestDatabase, mortal_postgres: KillablePostgres, backend: LocalBackend, seen: Seen
) -> None:
    kind = seen.kind()
    async with control_service(mortal_control_database.leader_dsn, backend, {kind.name: kind}) as service:
        seen.service = service
        client = AsyncClient(service)
        await client.get("/v1/operations")
        await asyncio.to_thread(mortal_postgres.kill)
        with pytest.raises(NotReachable, match="what is not recorded is not done"):
            await client.post("/v1/operations", wanted())
        assert seen.while_planned == [], "nobody has even planned it"
        await asyncio.to_thread(mortal_postgres.start)

        async def answers() -> bool:
            try:
                found = await client.get("/v1/operations")
            except NotReachable:
                return False
            assert found["items"] == []
            return True

        await eventually(answers)
        assert_moved(service.metrics.render(), "shardctl_audited_requests_total")


class Command:
    """`shardctl audit ...` on that service."""

    def __init__(self, service: ControlService, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (audit, exporting, verifying):
            monkeypatch.setattr(module, "open_control", lambda: ControlClient(service.settings.socket))
        for module in (exporting, verifying):  # to list what is recorded takes no stack
            monkeypatch.setattr(module, "open_stack", lambda: backend)

    async def run(self, *arguments: str) -> tuple[str, BaseException | None]:
        done = await asyncio.to_thread(CliRunner().invoke, make_app(), ["audit", *arguments])
        return done.stdout, done.exception

    async def json(self, *arguments: str) -> Any:
        out, error = await self.run(*arguments, "--json")
        assert error is None, error
        return json.loads(out)


@pytest.fixture
def command(service: ControlService, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(service, backend, monkeypatch)


async def test_attempts_are_listed_as_programs_expect_them(service: ControlService, command: Command) -> None:
    for cell in ("cell-1", "cell-2"):
        await AsyncClient(service).post("/v1/operations", wanted(dry_run=True, arguments={"cell": cell}))
    found = await command.json("list", "--target", "cell-2", "--since", "1h", "--act", "tests.wait")
    at, ended_at = found[0].pop("at"), found[0].pop("ended_at")
    assert ended_at > at
    assert found == [
        {
            "number": 3, "subject": own_name(), "role": "admin", "way": "socket", "act": "tests.wait",
            "target": "cell-2", "reason": "why", "arguments": {"cell": "cell-2", "dry_run": True},
            "outcome": "done", "detail": "dry run",
        }
    ]  # fmt: skip
    assert len(await command.json("list")) == 2
    assert await command.json("list", "--until", "1h") == []
    out, _ = await command.run("list", "-n", "1")
    assert out.splitlines()[1:] == [
        "          tests.wait cell-2 cell=cell-2 dry_run=True",
        "          why",
        "          dry run",
    ]
    out, _ = await command.run("list", "--actor", "nobody")
    assert out == "nothing is recorded of that kind\n"
    _, error = await command.run("list", "--since", "yesterday")
    assert isinstance(error, UsageError)


async def test_a_chain_is_verified_and_exported_page_by_page(
    service: ControlService, command: Command, control_database: TestDatabase, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fetch, "PAGE_ROWS", 3)
    for _ in range(4):
        await AsyncClient(service).post("/v1/operations", wanted(dry_run=True))
    whole = await command.json("verify", "--no-kafka")
    assert (whole["is_intact"], whole["rows"], whole["last"], whole["findings"]) == (True, 8, 8, [])
    assert whole.keys() == {
        "rows", "first", "last", "head", "heads_compared", "proven_by_heads", "findings", "findings_total",
        "is_intact", "heads_deleted", "heads_asked",
    }  # fmt: skip
    file = tmp_path / "audit.jsonl"
    manifest = await command.json("export", str(file))
    assert (manifest["rows"], manifest["head_number"], manifest["stack"]) == (8, 8, "mine")
    assert manifest["head_hash"] == whole["head"]
    assert msgspec.json.decode(file.read_bytes().splitlines()[0]) == msgspec.to_builtins(all_rows(control_database)[0])
    since = all_rows(control_database)[4].at
    newer = await command.json("export", str(tmp_path / "newer.jsonl"), "--since", since)
    assert (newer["before_number"], newer["rows"]) == (4, 4)
    for path in (file, tmp_path / "newer.jsonl"):
        assert (await command.json("verify", "--file", str(path)))["is_intact"]

    as_root(control_database, "update control.audit set reason = 'none' where number = 3")
    as_root(control_database, "delete from control.audit where number = 6")
    out, error = await command.run("verify", "--no-kafka")
    assert isinstance(error, Refused)
    assert error.exit_code == 1
    assert "2 findings, the first at row 3" in str(error)
    assert "row 3: edited" in out
    assert "row 6: missing" in out


async def test_the_head_goes_to_kafka_by_the_clock_and_a_rewritten_tail_shows(
    service: ControlService, command: Command, control_database: TestDatabase, kafka_broker: KafkaBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers, topic_prefix="clock.")
    await ensure_topics(kafka_broker.bootstrap_servers, ["clock.audit-heads"], partitions=8, timeout_s=30)
    monkeypatch.setattr("shardctl.service.app.kafka_of", lambda _: settings)
    monkeypatch.setattr(verifying, "kafka_of", lambda _: settings)
    for _ in range(3):
        await AsyncClient(service).post("/v1/operations", wanted(dry_run=True))
    out, error = await command.run("verify")
    assert error is None
    assert "no head was published yet" in out

    # Missed for three hours: once is enough, and the next one is due at the hour.
    lease = await leading(service)
    schedules = Schedules(
        service.state, service.submissions, {"audit_head": service.publish_audit_head}, service.metrics
    )
    await schedules.begin_what_is_due(lease)
    as_root(
        control_database, "update control.schedules set due_at = due_at - interval '3 hours' where name = 'audit_head'"
    )
    await schedules.begin_what_is_due(lease)
    row = (await service.state.schedules())["audit_head"]
    assert row.due_at > await service.state.now()
    assert (row.operation_id, row.begun_at is not None) == (None, True)
    published, _ = await read_heads(settings, "mine")
    assert set(published) == {6}
    assert_moved(service.metrics.render(), "shardctl_audit_head_published")
    shown = (await AsyncClient(service).get("/v1/schedules"))["items"]
    assert [(each["kind"], each["every"]) for each in shown if each["name"] == "audit_head"] == [
        ("audit_head", "every hour")
    ]

    assert (await command.json("verify"))["proven_by_heads"] == 6
    rewrite_tail(control_database, 3, subject="bob")
    assert (await command.json("verify", "--no-kafka"))["is_intact"]
    out, error = await command.run("verify")
    assert isinstance(error, Refused)
    assert "row 6: rewritten" in out


async def test_a_head_that_kafka_does_not_take_is_late(service: ControlService, control_database: TestDatabase) -> None:
    async def away() -> None:
        raise NotReachable("Kafka is away")

    lease = await leading(service)
    metrics = Metrics(METRICS)  # the service's own leader shows what it saw, too
    schedules = Schedules(service.state, service.submissions, {"audit_head": away}, metrics)
    await schedules.begin_what_is_due(lease)
    as_root(
        control_database, "update control.schedules set due_at = due_at - interval '3 hours' where name = 'audit_head'"
    )
    await schedules.begin_what_is_due(lease)
    assert (await service.state.schedules())["audit_head"].due_at < await service.state.now()
    assert 'shardctl_schedule_late_seconds{schedule="audit_head"} 0.0' not in metrics.render().decode()
    assert "audit_head" in {schedule.name for schedule in SCHEDULES}
