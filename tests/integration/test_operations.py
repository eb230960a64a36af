"""Operations on a real control database: killed anywhere, by a leader that was paused, one key twice, cancelled."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from infra.runtime.database import make_pool
from infra.runtime.settings import PostgresSettings
from shardctl.audit.queries import Wanted, Who, audit_of, open_audit
from shardctl.operations.errors import Conflict, KeyReused, LeaseLost, NotUndone, SamePerson, WrongState
from shardctl.operations.execute import Executor, UnknownKind
from shardctl.operations.plan import Document, Kind, hash_facts
from shardctl.operations.queries import Operation, Operations
from shardctl.operations.states import TRANSITIONS, State
from tests.support.databases import TestDatabase
from tests.support.recorded_resources import KIND, KINDS, Crash, RecordedResources, SeenBy

pytestmark = pytest.mark.anyio
LIFE_S = 60.0
WRITES = ("start", "begin_step", "checkpoint", "end_step", "end")


@pytest.fixture
async def operations(control_database: TestDatabase) -> AsyncIterator[Operations]:
    async with make_pool(PostgresSettings(dsn=control_database.leader_dsn), "test", size=4) as pool:
        yield Operations(pool)


async def create(
    operations: Operations,
    resources: RecordedResources,
    *,
    key: str | None = None,
    excludes: str = "none",
    needs_approval: bool = False,
    **arguments: Any,
) -> int:
    number, _ = await operations.create(
        KIND.name,
        KIND.version,
        arguments,
        KIND.plan(arguments, resources.facts),
        state_hash=hash_facts(resources.facts),
        excludes={KIND.name: excludes},
        attempt=await attempt(operations),
        actor="ann",
        reason="a test",
        key=key or uuid.uuid4().hex,
        needs_approval=needs_approval,
    )
    return number


async def attempt(operations: Operations) -> int:
    """The row of somebody who asks."""
    who = Who("ann", "operator", "socket")
    return await audit_of(operations._pool).begin(who, KIND.name, "the world", reason=None, arguments={})


async def next_lease(operations: Operations, control_database: TestDatabase) -> int:
    """As if the former leader's lease had run out."""
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        root.execute("update control.leadership set expires_at = '-infinity'")
    lease = await operations.acquire_lease("test", LIFE_S)
    assert lease is not None
    return lease


def executor(
    operations: Operations, resources: RecordedResources, lease: int, kinds: Mapping[str, Kind[SeenBy]] = KINDS
) -> Executor[SeenBy]:
    async def no_wait(_: float) -> None: ...

    async def nobody(_: Operation) -> None: ...

    return Executor(
        operations, kinds, lease, open_resources=lambda _: SeenBy(resources, lease), announce=nobody, sleep=no_wait
    )


class DiesAtWrites:
    """The operations as an executor sees them that is killed before (even) or after (odd) its n-th write."""

    def __init__(self, operations: Operations, crash_at: int) -> None:
        self._operations = operations
        self._crash_at = crash_at
        self.reached = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._operations, name)
        if name not in WRITES:
            return real  # type: ignore[no-any-return]

        async def write(*arguments: Any, **named: Any) -> Any:
            self._die()
            answer = await real(*arguments, **named)
            self._die()
            return answer

        return write

    def _die(self) -> None:
        self.reached += 1
        if self.reached - 1 == self._crash_at:
            raise Crash


async def run_dying(
    operations: Operations, resources: RecordedResources, lease: int, number: int, crash_at: int
) -> bool:
    """Did it die?"""
    dying: Any = DiesAtWrites(operations, crash_at)
    try:
        await executor(dying, resources, lease).run(number)
    except Crash:
        return True
    return False


async def finished(operations: Operations, resources: RecordedResources, lease: int, number: int) -> State:
    if (await operations.read(number)).exit_code is None:
        return await executor(operations, resources, lease).run(number)
    return State((await operations.read(number)).state)


def assert_as_without_a_crash(resources: RecordedResources) -> None:
    """Every effect stands, of each step one decision only, in the order of the plan, and by rising leases."""
    assert set(resources.state) == {"set 0", "set 1", "set 2", "page 0", "page 1"}
    for key in resources.state:
        assert len({value for _, done, value in resources.effects if done == key}) == 1, key
    leases = [lease for lease, _, _ in resources.effects]
    assert leases == sorted(leases)
    assert list(dict.fromkeys(key for _, key, _ in resources.effects)) == [
        "set 0",
        "set 1",
        "set 2",
        "page 0",
        "page 1",
    ]


async def test_killed_before_and_after_every_write_twice_in_a_row(
    operations: Operations, control_database: TestDatabase
) -> None:
    """Found by this test: what `decide` says must be read back, or the second attempt decides anew."""
    deaths = 0
    for first in itertools.count():
        died = False
        for second in (0, 3):  # at once, and after its first step
            resources = RecordedResources()
            number = await create(operations, resources)
            for crash_at in (first, second):
                lease = await next_lease(operations, control_database)
                if (await operations.read(number)).exit_code is not None:
                    break
                died = await run_dying(operations, resources, lease, number, crash_at)
                deaths += died
            lease = await next_lease(operations, control_database)
            assert await finished(operations, resources, lease, number) is State.SUCCEEDED
            assert_as_without_a_crash(resources)
        if not died and first > 20:
            break
    assert deaths > 40


async def test_killed_before_and_after_every_effect(operations: Operations, control_database: TestDatabase) -> None:
    for crash_at in range(10):
        resources = RecordedResources(crash_at=crash_at)
        number = await create(operations, resources)
        lease = await next_lease(operations, control_database)
        with pytest.raises(Crash):
            await executor(operations, resources, lease).run(number)
        lease = await next_lease(operations, control_database)
        assert await executor(operations, resources, lease).run(number) is State.SUCCEEDED
        assert_as_without_a_crash(resources)


async def test_killed_while_it_is_undone(operations: Operations, control_database: TestDatabase) -> None:
    for first in range(30):
        resources = RecordedResources(refusals={"page 1"})
        number = await create(operations, resources)
        assert (
            await executor(operations, resources, await next_lease(operations, control_database)).run(number)
            is State.FAILED
        )
        undoing = await operations.cancel(number, await attempt(operations), "bob", "no", {})
        assert (undoing.state, undoing.goes_on) == (State.CANCELLING, True)
        lease = await next_lease(operations, control_database)
        if not await run_dying(operations, resources, lease, number, first):
            break
        lease = await next_lease(operations, control_database)
        assert await finished(operations, resources, lease, number) is State.CANCELLED
        assert set(resources.state) == {"page 0"}  # a walk has nothing to undo
    else:
        raise AssertionError("it never came to its end")
    assert first > 10


async def test_a_paused_leader_that_wakes_up_after_its_lease_changes_nothing(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources()
    number = await create(operations, resources)
    old = await next_lease(operations, control_database)
    await operations.start(old, number, hash_facts(resources.facts))
    await operations.begin_step(old, number, 1, {"token": "old"})
    new = await next_lease(operations, control_database)
    assert new > old

    before = await everything(operations, number)
    refused = (
        operations.renew_lease(old, LIFE_S),
        operations.start(old, number, hash_facts(resources.facts)),
        operations.begin_step(old, number, 1, None),
        operations.checkpoint(old, number, 1, {}, "late"),
        operations.end_step(old, number, 1, "done", {}, None),
        operations.end(old, number, State.SUCCEEDED, 0, None),
    )
    for write in refused:
        with pytest.raises(LeaseLost):
            await write
    await operations.release_lease(old)
    assert await everything(operations, number) == before
    await operations.renew_lease(new, LIFE_S)
    assert await executor(operations, resources, new).run(number) is State.SUCCEEDED
    with pytest.raises(LeaseLost):
        SeenBy(resources, old).change("set 0", "late")
    assert resources.effects[0][1:] == ("set 0", "old")  # decided by the one that was paused, done by the next


async def test_a_lease_that_ran_out_is_over_even_if_nobody_took_it(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources()
    number = await create(operations, resources)
    lease = await next_lease(operations, control_database)
    assert await operations.acquire_lease("other", LIFE_S) is None
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        root.execute("update control.leadership set expires_at = clock_timestamp()")
    with pytest.raises(LeaseLost):
        await operations.start(lease, number, hash_facts(resources.facts))
    with pytest.raises(LeaseLost):
        await operations.renew_lease(lease, LIFE_S)


async def test_a_write_that_waited_for_the_lock_is_judged_by_the_time_after_the_wait(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources()
    number = await create(operations, resources)
    lease = await next_lease(operations, control_database)
    with psycopg.connect(control_database.superuser_dsn) as root:
        root.execute("update control.leadership set number = number + 1")
        late = asyncio.create_task(operations.start(lease, number, hash_facts(resources.facts)))
        await until_somebody_waits(control_database)
        root.commit()
    with pytest.raises(LeaseLost):
        await late


async def until_somebody_waits(control_database: TestDatabase) -> None:
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        while root.execute("select count(*) from pg_locks where not granted").fetchone() == (0,):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def everything(operations: Operations, number: int) -> Any:
    return (
        await operations.read(number),
        await operations.steps(number),
        await operations.events(number, 0),
    )


async def test_one_key_twice_is_one_operation_and_another_request_is_refused(operations: Operations) -> None:
    resources = RecordedResources()
    numbers = await asyncio.gather(*(create(operations, resources, key="k", target="a") for _ in range(4)))
    assert len(set(numbers)) == 1
    with pytest.raises(KeyReused, match=f"operation {numbers[0]}"):
        await create(operations, resources, key="k", target="b")
    assert len(await operations.newest(10)) == 1


async def test_what_changed_since_the_plan_refuses_it_before_anything_is_done(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources()
    number = await create(operations, resources)
    resources.facts["size"] = 4
    lease = await next_lease(operations, control_database)
    assert await executor(operations, resources, lease).run(number) is State.REFUSED
    ended = await operations.read(number)
    assert (ended.exit_code, resources.effects) == (5, [])
    assert await outcomes(control_database) == ["refused"]


async def test_two_that_exclude_each_other(operations: Operations) -> None:
    resources = RecordedResources()
    first = await create(operations, resources, cells=["cell-1"])
    await create(operations, resources, cells=["cell-2"], excludes="cell")
    for excludes in ("cell", "fleet"):
        with pytest.raises(Conflict, match=f"operation {first} \\(tests.change the record, by ann\\) is pending"):
            await create(operations, resources, cells=["cell-1"], excludes=excludes)
    racing = await asyncio.gather(
        *(create(operations, resources, cells=["cell-3"], excludes="cell") for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(answer, int) for answer in racing) == 1
    assert sum(isinstance(answer, Conflict) for answer in racing) == 3


async def test_a_kind_that_is_not_known_excludes_and_is_left_alone(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources()
    number = await create(operations, resources)
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        root.execute("update control.operations set version = 2")
    lease = await next_lease(operations, control_database)
    with pytest.raises(UnknownKind):
        await executor(operations, resources, lease).run(number)
    assert (await operations.read(number)).state == State.PENDING
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        root.execute("update control.operations set kind = 'cells.retire'")
    with pytest.raises(Conflict, match=r"cells\.retire"):
        await create(operations, resources)


async def test_attempts_are_bounded_and_resume_gives_them_again(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources(failures={"set 1": 7})
    number = await create(operations, resources)
    lease = await next_lease(operations, control_database)
    assert await executor(operations, resources, lease).run(number) is State.FAILED
    ended = await operations.read(number)
    assert (ended.exit_code, ended.detail) == (3, "set 1: set 1 does not answer")
    for goes_on in (True, False):
        resumed = await operations.resume(number, await attempt(operations), "ann", None, {KIND.name: "none"})
        assert (resumed.state, resumed.goes_on) == (State.RUNNING, goes_on)
    assert await executor(operations, resources, lease).run(number) is State.SUCCEEDED
    assert_as_without_a_crash(resources)
    assert await outcomes(control_database) == ["failed", "done", None]  # nothing was left to resume at the last one
    with pytest.raises(WrongState):
        await operations.resume(number, await attempt(operations), "ann", None, {})


async def test_a_step_that_is_a_finding_when_all_attempts_failed_does_not_end_the_operation(
    operations: Operations, control_database: TestDatabase
) -> None:
    decided: list[str] = []

    def finding(arguments: Document, intent: Document, error: Exception) -> Document:
        decided.append(intent["token"])
        return {"token": f"{arguments['name']}: {error}"}

    actions = {**KIND.actions, "set": replace(KIND.actions["set"], finding=finding)}
    kinds = {KIND.name: replace(KIND, actions=actions)}
    resources = RecordedResources(failures={"set 1": 5}, refusals={"set 2"})
    number = await create(operations, resources)
    lease = await next_lease(operations, control_database)
    assert await executor(operations, resources, lease, kinds).run(number) is State.SUCCEEDED
    assert resources.failures == {"set 1": 0}, "each attempt was made"
    assert decided == ["token-2", "token-3"], "a finding is told what was decided for the step"
    steps = await operations.steps(number)
    assert [step.state for step in steps] == ["done"] * 4
    told = ["set 1: set 1 does not answer", "set 2: set 2 is not done"]
    assert [(step.result or {}).get("token") for step in steps[1:3]] == told
    assert (steps[3].result or {})["tokens"][1:] == told, "the steps after it see it"


async def test_a_step_that_kills_its_process_each_time_ends(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources()
    number = await create(operations, resources)
    for _ in range(5):
        resources.crash_at, resources.reached = 0, 0
        with pytest.raises(Crash):
            await executor(operations, resources, await next_lease(operations, control_database)).run(number)
    resources.crash_at = -1
    lease = await next_lease(operations, control_database)
    assert await executor(operations, resources, lease).run(number) is State.FAILED
    assert "5 attempts" in str((await operations.read(number)).detail)


async def test_cancelled_before_it_begins_while_it_walks_and_too_late(
    operations: Operations, control_database: TestDatabase
) -> None:
    resources = RecordedResources()
    number = await create(operations, resources)
    for _ in range(2):
        cancelled = await operations.cancel(number, await attempt(operations), "bob", None, {})
        assert (cancelled.state, cancelled.goes_on) == (State.CANCELLED, False)
    assert await outcomes(control_database) == ["interrupted", None, None]  # those two are ended by who asked

    lease = await next_lease(operations, control_database)
    walking = await create(operations, resources)
    await operations.start(lease, walking, hash_facts(resources.facts))
    await operations.begin_step(lease, walking, 1, {"token": "t"})
    assert (await operations.cancel(walking, await attempt(operations), "bob", "a mistake", {})).state is State.RUNNING
    assert await executor(operations, resources, lease).run(walking) is State.CANCELLED
    assert resources.state == {}
    assert str((await operations.read(walking)).detail) == "cancelled by bob"

    sealed = await create(operations, RecordedResources(), seals=True)
    await operations.start(lease, sealed, hash_facts(resources.facts))
    await operations.begin_step(lease, sealed, 4, None)
    with pytest.raises(NotUndone):
        await operations.cancel(sealed, await attempt(operations), "bob", None, {})


async def test_another_person_approves(operations: Operations, control_database: TestDatabase) -> None:
    resources = RecordedResources()
    number = await create(operations, resources, needs_approval=True)
    assert number not in await operations.to_work_on()
    with pytest.raises(SamePerson):
        await operations.approve(number, "ann", None)
    assert await operations.approve(number, "bob", "looks right") is State.PENDING
    assert await operations.approve(number, "bob", None) is State.PENDING
    lease = await next_lease(operations, control_database)
    assert await executor(operations, resources, lease).run(number) is State.SUCCEEDED
    events = [(event.event, event.detail) for event in await operations.events(number, 0)]
    assert ("approved", "bob: looks right") in events


async def test_the_database_has_the_same_transitions(operations: Operations, control_database: TestDatabase) -> None:
    number = await create(operations, RecordedResources())
    allowed = set()
    with psycopg.connect(control_database.superuser_dsn) as root:
        for before, after in itertools.product(State, State):
            root.execute(
                "update control.operations set state = %s, exit_code = %s, ended_at = %s where operation_id = %s",
                [before, *((0, "now") if not TRANSITIONS[before] or before is State.FAILED else (None, None)), number],
            )
            root.commit()
            try:
                root.execute("select enter_state_v1(%s, %s, 0::int, null)", [number, after])
                allowed.add((before, after))
            except psycopg.errors.DatabaseError as error:
                if error.sqlstate != "RBC13":
                    allowed.add((before, after))
            root.rollback()
    assert allowed == {(before, after) for before, afters in TRANSITIONS.items() for after in afters}


async def outcomes(control_database: TestDatabase) -> list[str | None]:
    """Of all attempts, in their order."""
    async with open_audit(control_database.owner_dsn) as audit:
        return [found.outcome for found in reversed(await audit.newest(Wanted()))]
