"""What the batcher promises when things go wrong: isolation, order, no guess about an unknown outcome, bounds."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cell.commands.arguments import DepositArguments, PlaceArguments, ReplaceArguments
from cell.commands.batcher import Batcher, BatcherLimits
from cell.commands.command import Command, CommandKind, Outcome, procedures
from cell.metrics import TABLE
from cell.order_log import OrderLog, leave_lines
from infra.runtime import deadline
from infra.runtime.clock import SystemClock
from infra.runtime.database import make_pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.logs import bind_request
from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseFailure
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from tests.support.cutting_proxy import cutting_proxy
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio

LIMITS = BatcherLimits(batch_max=64, calls_max=2, queue_max=200, user_queue_max=8, command_deadline_s=4.0)


@asynccontextmanager
async def batcher_on(dsn: str, limits: BatcherLimits = LIMITS, *, lock_timeout_ms: int = 100) -> AsyncIterator[Batcher]:
    pool = make_pool(PostgresSettings(dsn=dsn, lock_timeout_ms=lock_timeout_ms), "test-batcher")
    await pool.open()
    try:
        calls = procedures(accept_transfers=True, reference_age_max_s=60.0, order_log=OrderLog(2))
        metrics = Metrics(TABLE)
        async with Batcher(
            pool, calls, limits, clock=SystemClock(), metrics=metrics, faults=FaultPoints({})
        ) as batcher:
            yield batcher
    finally:
        await pool.close()


@pytest.fixture
async def batcher(cell_database: TestDatabase) -> AsyncIterator[Batcher]:
    async with batcher_on(cell_database.service_dsn) as batcher:
        yield batcher


@pytest.fixture
def books(cell_database: TestDatabase) -> Any:
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        connection.execute("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        yield connection


def open_user(books: Any) -> uuid.UUID:
    user_id = uuid.uuid4()
    books.execute("select open_account_v1(%s, 1, 'retail', %s, null, 'x')", [user_id, str(user_id)])
    return user_id


def deposit(user_id: uuid.UUID, amount: int = 1_000_000, key: str | None = None) -> Command:
    return Command(CommandKind.DEPOSIT, user_id, key or uuid.uuid4().hex, b"f" * 16, DepositArguments(amount))


def buy(user_id: uuid.UUID, qty: int = 1_000_000) -> Command:
    arguments = PlaceArguments(None, "AAPL", "buy", "limit", "day", qty, 100_000_000, None, None)
    return Command(CommandKind.PLACE, user_id, uuid.uuid4().hex, b"f" * 16, arguments)


def balance(books: Any, user_id: uuid.UUID) -> int:
    row = books.execute("select cash_micros from brokerage.users where user_id = %s", [user_id]).fetchone()
    return int(row[0])


async def outcome_of(future: asyncio.Future[Outcome]) -> str:
    try:
        return (await future).outcome
    except Problem as problem:
        return problem.code
    except DatabaseFailure as error:
        return type(error).__name__


async def test_a_users_commands_run_in_the_order_they_came(batcher: Batcher, books: Any) -> None:
    """Deposit, then exactly that much is spent, then nothing is left: only this order gives these outcomes."""
    user_id = open_user(books)
    futures = [
        batcher.submit(deposit(user_id, 100_000_000)),
        batcher.submit(buy(user_id)),
        batcher.submit(buy(user_id)),
        batcher.submit(deposit(user_id, 100_000_000)),
        batcher.submit(buy(user_id)),
    ]
    outcomes = [await outcome_of(future) for future in futures]
    assert outcomes == ["accepted", "accepted", "INSUFFICIENT_BUYING_POWER", "accepted", "accepted"]


async def test_a_held_account_is_waited_for_and_holds_up_nobody(batcher: Batcher, books: Any) -> None:
    """The lock is given back after many lock timeouts: then their commands go through; the others' went before."""
    held, others = [open_user(books) for _ in range(3)], [open_user(books) for _ in range(3)]
    books.execute("begin")
    books.execute("select from brokerage.users where user_id = any(%s) for update", [held])
    waiting = [batcher.submit(deposit(user_id)) for user_id in held]
    for _ in range(20):
        for user_id in others:
            assert await outcome_of(batcher.submit(deposit(user_id))) == "accepted"
    await asyncio.sleep(0.5)  # nothing happens: many lock timeouts have passed
    assert not any(future.done() for future in waiting)
    books.execute("commit")
    assert [await outcome_of(future) for future in waiting] == ["accepted"] * 3


async def test_many_users_share_few_calls(batcher: Batcher, books: Any) -> None:
    users = [open_user(books) for _ in range(120)]
    outcomes = await asyncio.gather(*(outcome_of(batcher.submit(deposit(user_id))) for user_id in users))
    assert set(outcomes) == {"accepted"}
    assert {balance(books, user_id) for user_id in users} == {1_000_000}


async def test_a_poison_command_fails_alone_and_its_line_names_its_request(
    batcher: Batcher, books: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One user's next entry is already there (a corruption): that user's command errs, the neighbours' do not."""
    users = [open_user(books) for _ in range(20)]
    poisoned = users[7]
    books.execute(
        "insert into brokerage.journal_entries values (%s, 1, gen_random_uuid(), 'deposit', null, now(), '', '')",
        [poisoned],
    )
    bind_request(b"request-of-all", b"")
    for _ in range(3):  # from the third time on it is isolated
        outcomes = await asyncio.gather(*(outcome_of(batcher.submit(deposit(user_id))) for user_id in users))
        assert outcomes[7] == "DatabaseBroke"
        assert {outcome for number, outcome in enumerate(outcomes) if number != 7} == {"accepted"}
    refused = [record.__dict__ for record in caplog.records if record.msg == "command refused by the database"]
    assert [(line["request_id"], line["user_id"]) for line in refused] == [("request-of-all", poisoned)] * 3
    assert balance(books, poisoned) == 0
    assert {balance(books, user_id) for user_id in users if user_id != poisoned} == {3_000_000}


async def test_a_held_user_stalls_nobody_and_is_told_so_in_the_end(batcher: Batcher, books: Any) -> None:
    held, free = open_user(books), open_user(books)
    with books.transaction():
        books.execute("select 1 from brokerage.users where user_id = %s for update", [held])
        waiting = batcher.submit(deposit(held))
        for _ in range(10):
            assert await outcome_of(batcher.submit(deposit(free))) == "accepted"
        assert await outcome_of(waiting) == "OVERLOADED"
    assert await outcome_of(batcher.submit(deposit(held))) == "accepted"
    assert balance(books, held) == 1_000_000


async def test_a_held_user_who_comes_free_goes_through(batcher: Batcher, books: Any) -> None:
    held = open_user(books)
    with books.transaction():
        books.execute("select 1 from brokerage.users where user_id = %s for update", [held])
        waiting = batcher.submit(deposit(held))
        await asyncio.sleep(0.02)  # a few lock timeouts pass; whether the command has begun by then makes no difference
    assert await outcome_of(waiting) == "accepted"


async def test_a_lost_reply_of_the_commit_is_asked_for_again_and_has_one_effect(
    cell_database: TestDatabase, books: Any
) -> None:
    address = conninfo_to_dict(cell_database.service_dsn)
    async with cutting_proxy(str(address["host"]), int(str(address["port"]))) as proxy:
        dsn = cell_database.service_dsn.replace(f":{address['port']}/", f":{proxy.port}/")
        async with batcher_on(dsn) as batcher:
            users = [open_user(books) for _ in range(10)]
            # the keys come with the execution; the procedure's name comes before, when the statement is prepared
            proxy.armed_by = b"lost-"
            proxy.replies_to_lose = 1
            lost = [deposit(user_id, key=f"lost-{user_id}") for user_id in users]
            outcomes = await asyncio.gather(*(batcher.submit(command) for command in lost))
    assert proxy.lost == 1, "the fault was never met"
    assert {outcome.outcome for outcome in outcomes} == {"accepted"}
    assert any(outcome.replayed for outcome in outcomes), "what was lost was committed"
    assert {balance(books, user_id) for user_id in users} == {1_000_000}


async def test_an_unknown_outcome_is_said_to_be_unknown_and_settled_by_another_server(
    cell_database: TestDatabase, books: Any
) -> None:
    address = conninfo_to_dict(cell_database.service_dsn)
    user_id = open_user(books)
    limits = BatcherLimits(64, 2, 200, 8, command_deadline_s=0.5)
    async with cutting_proxy(str(address["host"]), int(str(address["port"]))) as proxy:
        dsn = cell_database.service_dsn.replace(f":{address['port']}/", f":{proxy.port}/")
        async with batcher_on(dsn, limits) as batcher:
            proxy.armed_by, proxy.replies_to_lose = b"unknown-key", 1_000
            assert await outcome_of(batcher.submit(deposit(user_id, key="unknown-key"))) == "OUTCOME_UNKNOWN"
    assert proxy.lost > 0, "the fault was never met"
    async with batcher_on(cell_database.service_dsn) as other:
        settled = await other.submit(deposit(user_id, key="unknown-key"))
    assert (settled.outcome, settled.replayed) == ("accepted", True)
    assert balance(books, user_id) == 1_000_000


async def test_the_queue_is_bounded_per_user_and_in_all(batcher: Batcher, books: Any) -> None:
    user_id = open_user(books)
    futures = [batcher.submit(deposit(user_id)) for _ in range(LIMITS.user_queue_max)]
    with pytest.raises(Problem) as caught:
        batcher.submit(deposit(user_id))
    assert (caught.value.code, caught.value.headers["Retry-After"]) == ("OVERLOADED", "1")
    many = [open_user(books) for _ in range(LIMITS.queue_max - len(futures) + 1)]
    accepted, refused = [], 0
    for other in many:
        try:
            accepted.append(batcher.submit(deposit(other)))
        except Problem:
            refused += 1
    assert refused == 1
    assert {await outcome_of(future) for future in futures + accepted} == {"accepted"}
    assert balance(books, user_id) == LIMITS.user_queue_max * 1_000_000
    assert batcher.waiting == 0


async def test_what_is_queued_is_answered_before_the_end(cell_database: TestDatabase, books: Any) -> None:
    users = [open_user(books) for _ in range(100)]
    async with batcher_on(cell_database.service_dsn) as batcher:
        futures = [batcher.submit(deposit(user_id)) for user_id in users]
    assert all(future.done() for future in futures)
    assert {future.result().outcome for future in futures} == {"accepted"}


def entries_of(books: Any, user_id: uuid.UUID) -> int:
    """How many entries the user's journal has: what was ever done for them."""
    row = books.execute("select count(*) from brokerage.journal_entries where user_id = %s", [user_id]).fetchone()
    return int(row[0])


async def test_a_budget_that_ends_in_the_queue_is_answered_then_and_never_sent(batcher: Batcher, books: Any) -> None:
    """The head waits for its user's lock, the others behind it: none was done, all are told so, and none is later."""
    held = open_user(books)
    with books.transaction():
        books.execute("select 1 from brokerage.users where user_id = %s for update", [held])
        with deadline.budget(b"400"):
            waiting = [batcher.submit(deposit(held)) for _ in range(4)]
        patient = batcher.submit(deposit(held, 7))
        answers = [await outcome_of(future) for future in waiting]
        assert answers[1:] == ["OVERLOADED"] * 3
        assert answers[0] in (
            "OVERLOADED",
            "OUTCOME_UNKNOWN",
        )  # unknown only if the machine is very slow
        assert not patient.done()
    assert await outcome_of(patient) == "accepted"
    assert batcher.waiting == 0
    assert entries_of(books, held) <= 1 + answers.count("OUTCOME_UNKNOWN"), "what had only waited was done later"


async def test_a_budget_that_ends_before_a_connection_is_had_leaves_nothing_behind(
    cell_database: TestDatabase, books: Any
) -> None:
    """All connections are taken, so the batch waits for one; by the time it has one its command is nobody's."""
    user_id = open_user(books)
    async with batcher_on(cell_database.service_dsn) as batcher, contextlib.AsyncExitStack() as taken:
        for _ in range(batcher._pool.max_size):
            await taken.enter_async_context(batcher._pool.connection())
        with deadline.budget(b"100"):
            waiting = batcher.submit(deposit(user_id))
        assert await outcome_of(waiting) in ("OVERLOADED", "CELL_UNAVAILABLE")
        await taken.aclose()
        other = open_user(books)
        assert await outcome_of(batcher.submit(deposit(other))) == "accepted"
    assert entries_of(books, user_id) == 0


async def test_a_command_at_the_database_when_its_budget_ends_is_unknown_and_done_once(
    cell_database: TestDatabase, books: Any
) -> None:
    """The call is held up inside the database, beyond the user's lock; the key tells later what came of it."""
    user_id = open_user(books)
    async with batcher_on(cell_database.service_dsn, lock_timeout_ms=30_000) as batcher:
        with books.transaction():
            books.execute("lock table brokerage.journal_entries in exclusive mode")
            with deadline.budget(b"700"):
                waiting = batcher.submit(deposit(user_id, key="late"))
            with pytest.raises(Problem) as caught:
                await waiting
        assert (caught.value.code, caught.value.status) == ("OUTCOME_UNKNOWN", 503)
        assert await outcome_of(batcher.submit(deposit(user_id, key="late"))) == "accepted"
    assert balance(books, user_id) == 1_000_000


async def test_no_budget_is_longer_than_our_own_limit(cell_database: TestDatabase, books: Any) -> None:
    held = open_user(books)
    limits = BatcherLimits(64, 2, 200, 8, command_deadline_s=0.3)
    async with batcher_on(cell_database.service_dsn, limits) as batcher:
        with books.transaction():
            books.execute("select 1 from brokerage.users where user_id = %s for update", [held])
            with deadline.budget(b"9999999"):
                waiting = batcher.submit(deposit(held))
            assert await outcome_of(waiting) in ("OVERLOADED", "OUTCOME_UNKNOWN")
    assert batcher.waiting == 0


async def test_who_has_no_time_left_is_not_queued(batcher: Batcher, books: Any) -> None:
    user_id = open_user(books)
    with deadline.budget(b"0"), pytest.raises(Problem) as caught:
        batcher.submit(deposit(user_id))
    assert (caught.value.code, batcher.waiting) == ("OVERLOADED", 0)


async def test_an_order_that_leaves_lines_keeps_its_request(
    batcher: Batcher, books: Any, cell_database: TestDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that the ids pick and no others, placed or replaced; a process that knows no request writes it."""
    user_id, trace_id = open_user(books), "0af7651916cd43dd8448eb211c80319c"
    books.execute("update brokerage.users set profile = 'professional' where user_id = %s", [user_id])  # no rate limit
    await batcher.submit(deposit(user_id, 10_000_000_000))

    async def by(request_id: str, command: Command) -> uuid.UUID:
        bind_request(request_id.encode(), f"00-{trace_id}-b7ad6b7169203331-01".encode())
        outcome = await batcher.submit(command)
        assert (outcome.outcome, outcome.resource_id is None) == ("accepted", False), outcome
        assert outcome.resource_id is not None
        return outcome.resource_id

    of_orders: dict[uuid.UUID, str] = {}
    for number in range(12):
        placed = await by(f"place-{number}", buy(user_id))
        whole = ReplaceArguments(placed, None, 2_000_000, None, None, None, None)
        changed = Command(CommandKind.REPLACE, user_id, uuid.uuid4().hex, b"f" * 16, whole)
        of_orders |= {placed: f"place-{number}", await by(f"replace-{number}", changed): f"replace-{number}"}
    query = "select order_id, request_id, trace_id from brokerage.orders where user_id = %s"
    kept = {row[0]: row[1:] for row in books.execute(query, [user_id]).fetchall()}
    log = OrderLog(2)
    assert kept == {
        order_id: (request_id, trace_id) if log.picks(order_id) else (None, None)
        for order_id, request_id in of_orders.items()
    }
    picked = next((order_id for order_id in of_orders if log.picks(order_id)), None)
    assert picked is not None, "of 24 random ids half are picked"

    caplog.set_level(logging.INFO)
    ids = {"order_id": picked, "user_id": user_id, "request_id": of_orders[picked], "trace_id": trace_id}
    for dsn, known in ((cell_database.service_dsn, ids), ("host=127.0.0.1 port=1 user=nobody", {"order_id": picked})):
        async with make_pool(PostgresSettings(dsn=dsn), "test-lines") as pool:
            await leave_lines(pool, logging.getLogger("lines"), f"sent {len(known)}", [(picked, {"action": "submit"})])
        (line,) = [vars(record) for record in caplog.records if record.message == f"sent {len(known)}"]
        assert {name: line.get(name) for name in (*ids, "action")} == {
            **dict.fromkeys(ids),
            **known,
            "action": "submit",
        }
