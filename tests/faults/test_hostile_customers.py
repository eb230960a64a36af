"""Customers who send everything and send it badly, while app servers, worker, exchange and PostgreSQL are killed and
the exchange duplicates, refuses, is late and takes trades back. Afterwards an independent model, which knows what was
sent, what was answered and what the exchange wrote down, computes every balance, hold, position, cost and order, to the
micro-dollar.

`DRILL_SEED` repeats a run's choices (not its races), `HOSTILE_WRITES` makes it as long as one likes, with as many
more deaths. A window that was never hit fails the test: then it proved nothing.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import psycopg
import pytest

from cell.trial_balance import run_trial_balance
from infra.security.keys import ROUTE_FILE, load_key_ring
from infra.security.route_token import RouteTokenSigner
from tests.support.app_server import AppServer, app_server
from tests.support.databases import TestDatabase
from tests.support.drill_seed import drill_seed
from tests.support.exchange_process import ExchangeProcess
from tests.support.hostile_customer import HostileCustomer
from tests.support.killable_postgres import KillablePostgres
from tests.support.random_choices import OTHER_SYMBOL, SYMBOLS, RandomChoices
from tests.support.statement import Statement, VenueOrder
from tests.support.statement_reading import differences
from tests.support.venue_books import WorkerProcess
from tests.support.venue_tap import VenueTap, venue_tap

pytestmark = pytest.mark.anyio

SEED = drill_seed()
WRITES = int(os.environ.get("HOSTILE_WRITES", "50"))
"""Per customer."""
CUSTOMERS = ("retail", "retail", "professional", "professional", "professional", "professional")
"""The last one only runs errands, when the others are done."""
HANDS = 3
"""Requests of one customer that are on their way together."""
WAIT_S = 60.0
FAULTS: list[dict[str, float]] = [
    {"duplicate_rate": 0.5, "noisy_duplicate_rate": 0.5, "lost_ack_rate": 0.3, "late_fill_rate": 0.8},
    {"late_fill_rate": 0.9, "bust_rate": 0.3, "correct_rate": 0.3, "latency_ms": 30},
    {"reject_rate": 0.3, "cancel_refused_rate": 0.4, "replace_refused_rate": 0.8, "late_fill_rate": 0.8},
    {"latency_ms": 15, "duplicate_rate": 0.2, "bust_rate": 0.2, "correct_rate": 0.2, "replace_refused_rate": 0.4},
]
VICTIMS = ("api 0", "worker", "exchange", "api 1", "worker", "postgres", "worker", "api 0")


@dataclass
class Scene:
    """Two app servers, one worker, one exchange, and the customers of the cell between them."""

    database: TestDatabase
    postgres: KillablePostgres
    exchange: ExchangeProcess
    worker: WorkerProcess
    tap: VenueTap
    servers: list[AppServer]
    session: aiohttp.ClientSession
    customers: list[HostileCustomer]
    tally: Counter[str] = field(default_factory=Counter)

    async def sum_of(self, query: str) -> int:
        async with await psycopg.AsyncConnection.connect(self.database.service_dsn, autocommit=True) as connection:
            row = await (await connection.execute(query.encode())).fetchone()
        assert row is not None
        return int(row[0])

    async def serve(self, server: AppServer) -> None:
        """Until it answers at all."""
        ends_at = time.monotonic() + WAIT_S
        while True:
            try:
                async with self.session.get(server.url + "/v1/account"):
                    return
            except aiohttp.ClientError:
                assert time.monotonic() < ends_at, "the app server does not answer"
                await asyncio.sleep(0.05)

    async def kill(self, victim: str) -> None:
        self.tally[f"killed: {victim}"] += 1
        if victim == "worker":
            self.worker.end(signal.SIGKILL)  # its keeper starts it again
        elif victim == "postgres":
            await asyncio.to_thread(self.postgres.kill_and_start)
        elif victim == "exchange":
            await asyncio.to_thread(self.exchange.stop, signal.SIGKILL)
            await asyncio.to_thread(self.exchange.start)
        else:
            server = self.servers[int(victim[-1])]
            server.kill()
            server.start()
            await self.serve(server)

    async def set_faults(self, faults: dict[str, float]) -> None:
        status, said = await asyncio.to_thread(
            self.exchange.operate, "POST", "/operator/v1/faults", json.dumps(faults).encode()
        )
        assert status == 200, said

    async def disturb(self, progress: Counter[str], whole: int) -> None:
        """Faults and deaths by how far the customers have come, so that none is missed on a slow machine."""
        victims = VICTIMS * max(1, WRITES // 50)
        for number, victim in enumerate(victims):
            due = whole * (number + 0.5) / len(victims)
            while progress["hands"] and sum(len(customer.writes) for customer in self.customers) < due:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            if number % 2 == 0:
                await self.set_faults(FAULTS[number // 2 % len(FAULTS)])
            await self.kill(victim)
        await self.set_faults({})

    async def come_to_rest(self) -> dict[str, VenueOrder]:
        """Until the venue has told everything and the cell has applied it; then the exchange's own log. The exchange
        is killed to keep it so: it goes on trading otherwise."""
        await self.kill("worker")  # the next one asks about what was never acknowledged
        for _ in range(20):
            ends_at = time.monotonic() + WAIT_S
            while await self._is_busy() or self._ask_log(
                "select count(*) from orders where cast(steps as text) <> '[]'"
            ):
                assert time.monotonic() < ends_at, "cell and exchange do not come to rest"
                await asyncio.sleep(0.1)
            await asyncio.to_thread(self.exchange.stop, signal.SIGKILL)
            for _ in range(20):  # what was on its way is applied
                if not (busy := await self._is_busy()):
                    break
                await asyncio.sleep(0.05)
            if not busy and not self._ask_log("select count(*) from reports"):
                return self._read_log()
            await asyncio.to_thread(self.exchange.start)
        raise AssertionError("cell and exchange do not come to rest together")

    async def _is_busy(self) -> int:
        return await self.sum_of(
            "select (select count(*) from brokerage.inbox) + (select count(*) from brokerage.venue_instructions)"
        )

    def _ask_log(self, query: str) -> int:
        with sqlite3.connect(self.exchange.data_dir / "exchange.sqlite3", timeout=10) as log:
            count = log.execute(query).fetchone()[0]
        log.close()
        return int(count)

    def _read_log(self) -> dict[str, VenueOrder]:
        query = "select cl_ord_id, ord_status, cum_qty, cum_cost, fill_count, terms from orders"
        with sqlite3.connect(self.exchange.data_dir / "exchange.sqlite3", timeout=10) as log:
            rows = log.execute(query).fetchall()
        log.close()
        return {row[0]: VenueOrder(row[1], row[2], int(row[3]), row[4], json.loads(row[5])) for row in rows}


@asynccontextmanager
async def scene(database: TestDatabase, postgres: KillablePostgres, exchange: ExchangeProcess) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as opened:
        tap = await opened.enter_async_context(venue_tap(exchange.port))
        servers = [opened.enter_context(app_server(database, exchange.keys_dir)) for _ in range(2)]
        worker = WorkerProcess(database, exchange)
        worker.environ["CELL_EXCHANGE__ADDRESS"] = f"127.0.0.1:{tap.port}"
        keeper = asyncio.create_task(worker.keep_running())
        opened.callback(lambda: worker.end(signal.SIGKILL))
        opened.callback(keeper.cancel)
        session = await opened.enter_async_context(aiohttp.ClientSession())
        made = Scene(database, postgres, exchange, worker, tap, servers, session, [])
        signer = RouteTokenSigner(load_key_ring(exchange.keys_dir / ROUTE_FILE))
        async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
            for number, profile in enumerate(CUSTOMERS):
                user_id = uuid.UUID(int=random.Random(f"{SEED}:{number}").getrandbits(128), version=4)
                await connection.execute(
                    "select open_account_v1(%s, 1, %s, %s, null, 'x')", [user_id, profile, user_id.hex]
                )
                choices = RandomChoices(random.Random(f"{SEED}:{number}"), tap.prices)
                made.customers.append(HostileCustomer(user_id, choices, servers, session, signer, made.tally))
        for server in servers:
            await made.serve(server)
        known = f"select count(*) from brokerage.symbols where symbol in {(*SYMBOLS, OTHER_SYMBOL)}"
        async with asyncio.timeout(WAIT_S):
            while await made.sum_of(known) <= len(SYMBOLS):  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(0.05)
        yield made


async def trade(scene: Scene) -> None:
    whole = (len(CUSTOMERS) - 1) * WRITES
    progress = Counter({"hands": HANDS * (len(CUSTOMERS) - 1)})

    async def one_hand(customer: HostileCustomer) -> None:
        try:
            await customer.trade(-(-WRITES // HANDS))
        finally:
            progress["hands"] -= 1

    await asyncio.gather(*(customer.fund() for customer in scene.customers))
    *traders, errand_boy = scene.customers
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.disturb(progress, whole))
        for customer in traders:
            for _ in range(HANDS):
                group.create_task(one_hand(customer))
    await errand_boy.run_errands(scene.set_faults)


async def test_an_independent_model_agrees_with_hostile_customers_to_the_micro_dollar(
    mortal_database: TestDatabase, mortal_postgres: KillablePostgres, exchange: ExchangeProcess
) -> None:
    print(f"DRILL_SEED={SEED} HOSTILE_WRITES={WRITES}")
    async with scene(mortal_database, mortal_postgres, exchange) as made:
        await trade(made)
        await asyncio.gather(*(customer.come_back() for customer in made.customers))
        await asyncio.gather(*(customer.repeat_everything() for customer in made.customers))
        log = await made.come_to_rest()
        reports = [made.tap.reports[seq] for seq in sorted(made.tap.reports)]
        assert sorted(made.tap.reports) == list(range(1, len(reports) + 1)), "the tap missed a report"
        known: set[str] = set()
        for customer in made.customers:
            mine = [report for report in reports if report["account"] == str(customer.user_id)]
            statement = Statement(customer.writes, mine, log)
            known |= set(statement.orders)
            count_windows(made.tally, statement)
            found = await differences(customer, statement)
            assert not found, "\n".join(found[:40])
        assert set(log) <= known, "the venue has orders that nobody was told of"
        async with await psycopg.AsyncConnection.connect(mortal_database.service_dsn, autocommit=True) as connection:
            trial = await run_trial_balance(connection)
        assert trial.healthy, [check for check in trial.checks if check.violations]
    count_answers(made)
    print(sorted(made.tally.items()))
    missed = [window for window in WINDOWS if not made.tally[window]]
    assert not missed, f"windows that were never hit: {missed}"


WINDOWS = (
    "killed: api 0", "killed: api 1", "killed: worker", "killed: exchange", "killed: postgres", "no answer",
    "insisted", "replayed", "sent twice at once", "changed under its key", "IDEMPOTENCY_KEY_REUSED",
    "given up, was done", "given up, was not done", "INSUFFICIENT_BUYING_POWER", "INSUFFICIENT_SHARES",
    "PRICE_OUT_OF_BAND",
    "ORDER_NOT_FOUND", "ORDER_NOT_OPEN", "STALE_ETAG", "filled", "partly filled", "rejected",
    "cancelled", "replaced", "replaced at once", "replaced by the venue", "replacement refused", "cancelled at once",
    "armed", "stop sent", "by amount, bought", "by amount, sold", "ioc or fok cut short", "bust", "correct",
    "traded after its end",
)  # fmt: skip


def count_windows(tally: Counter[str], statement: Statement) -> None:
    for order in statement.orders.values():
        tally[order.status] += 1
        tally["partly filled"] += order.cum_qty > 0 and order.status != "filled"
        tally["cancelled at once"] += order.ended == "cancelled"
        tally["replaced at once"] += order.ended == "replaced"
        tally["replacement refused"] += order.is_refused_replacement
        tally["replaced by the venue"] += order.was_pending and not order.is_refused_replacement
        tally["stop sent"] += order.terms["stop_price"] is not None and order.venue is not None
        if order.amount is not None and order.cum_qty:
            tally["by amount, bought" if order.is_buy else "by amount, sold"] += 1
        if order.terms["time_in_force"] in ("ioc", "fok"):
            tally["ioc or fok cut short"] += order.status == "cancelled" and order.venue is not None


def count_answers(made: Scene) -> None:
    for customer in made.customers:
        for write in customer.writes:
            for code in {heard.code for ask in write.asks for heard in ask.heard if heard.code is not None}:
                made.tally[code] += 1
    ended = set()
    seen: Counter[str] = Counter()
    for seq in sorted(made.tap.reports):
        report = made.tap.reports[seq]
        if report["kind"] in ("bust", "correct"):
            made.tally[report["kind"]] += 1
        if report["kind"] == "fill":
            seen[report["exec_id"]] += 1
            made.tally["fill told twice"] += seen[report["exec_id"]] == 2
            made.tally["traded after its end"] += report["cl_ord_id"] in ended
        if report["kind"] == "cancelled":
            ended.add(report["cl_ord_id"])
