"""Publish a cell's outbox to Kafka: at least once, in order per user.

One relay per cell works, its leader (`cell/leadership.py`); a second one waits and takes over when the first one's
session ends. Each round takes the oldest rows, sends their events, waits for every delivery
report, and deletes exactly the rows whose events were all confirmed. Killed anywhere in between, the next relay
publishes the rest again under the same event ids.

Kafka away: one batch waits in memory, rows wait in the database, nothing is given up. Database away: reconnect and
begin again. A row whose event was refused stays, with all later rows of that user, and is tried again after a pause;
until then they take nobody's place in a batch. Never on the path of an order: nobody waits for the relay.
"""

import asyncio
import logging
from collections import Counter as Counting
from collections.abc import Mapping
from uuid import UUID

from cell.leadership import Task, check, leading, start_term
from cell.order_log import OrderLog, leave_lines
from cell.outbox.batch import Prepared, confirmed_rows, prepare, refused_users
from cell.outbox.claim import BATCH_ROWS_MAX, Backlog, claim_batch, read_backlog
from cell.outbox.event_types import LEDGER_STREAM, ORDER_STREAM, OutboxRow
from cell.outbox.metrics import RELAY_METRICS
from cell.outbox.prune import delete_published
from cell.settings import CellSettings
from infra.runtime.database import Connection, make_pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.kafka_admin import BrokerUnreachable, broker_topics
from infra.runtime.kafka_producer import KafkaProducer, OutgoingMessage, Refusal
from infra.runtime.operator_api import create_operator_app, serving
from infra.runtime.shutdown import Shutdown
from infra.runtime.telemetry import Metrics
from infra.topology.topics import cell_topics

_log = logging.getLogger(__name__)

POOL_SIZE = 3
"""To lead, to publish, and to measure the backlog; with the last one also to read the ids for lines of orders."""
BUSY_PAUSE_S = 0.05
"""Behind a batch that was not full: events that are written meanwhile share the next one."""
IDLE_PAUSE_S = 0.2
"""The longest pause without any event; an event is that late at most."""
STANDBY_PAUSE_S = 0.5
"""Between a standby's tries to lead."""
RETRY_PAUSE_S = 1.0
"""After a session that broke: the database or Kafka is away, and the rows are safe."""
REFUSED_PAUSE_S = 5.0
"""A user whose event was refused is passed over for so long: each try costs the others one batch at most."""
PASSED_OVER_MAX = 1_000
"""Beyond so many refused users it is no single event that Kafka does not like: then all wait."""
WATCH_PAUSE_S = 5.0
"""Between measurements of the backlog and of the topics; what is shorter is no trouble."""
WATCH_RETRY_S = 0.5
"""Sooner while something is missing, so that readiness follows at once when it comes."""
KAFKA_ANSWER_S = 2.0
"""For the list of topics; longer is no answer, and readiness says so."""
DRAIN_S = 5.0
"""How long an asked-for end waits for the batch on its way; what is unconfirmed then is published again later."""

AFTER_CLAIM = "relay.after_claim"
AFTER_PRODUCE = "relay.after_produce"

_SESSION = (
    # A deletion lost in a crash means a second copy, which readers drop; it must not cost the order path an fsync.
    "set synchronous_commit = off",
    "set time zone 'UTC'",
    # A batch is small and the tables are large, whatever the statistics of a young table say.
    "set enable_seqscan = off",
    "set enable_hashjoin = off",
    "set enable_mergejoin = off",
    "set plan_cache_mode = force_generic_plan",
)


def next_pause_s(last_pause_s: float, row_count: int) -> float:
    """How long to wait before the next claim: not at all behind a full batch, ever longer while there is nothing."""
    if row_count >= BATCH_ROWS_MAX:
        return 0.0
    if row_count > 0:
        return BUSY_PAUSE_S
    return min(IDLE_PAUSE_S, max(BUSY_PAUSE_S, last_pause_s * 2))


class Relay:
    """The loop of one process, and what its readiness says."""

    def __init__(
        self,
        settings: CellSettings,
        *,
        producer: KafkaProducer,
        metrics: Metrics,
        shutdown: Shutdown,
        fault_points: FaultPoints | None = None,
    ) -> None:
        self._settings = settings
        self._cell = settings.name
        self._producer = producer
        self._metrics = metrics
        self._shutdown = shutdown
        self._faults = fault_points or FaultPoints()
        self._order_log = OrderLog(settings.log_orders_one_in)
        self._pool = make_pool(settings.postgres, f"{settings.name}-relay", size=POOL_SIZE)
        self._active = False
        self._passed_over: dict[str, float] = {}
        """Users with a refused event, and until when (of the loop's time) they are left out."""
        self._backlog: Backlog | None = None
        self._missing_topics: list[str] | None = None
        self._trouble: str | None = None

    async def run(self) -> None:
        """Work until the end is asked for."""
        async with self._pool:
            watching = asyncio.create_task(self._watch(), name="relay:watch")
            try:
                while not self._shutdown.asked:
                    await self._run_session()
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def ready(self) -> tuple[bool, Mapping[str, object]]:
        """Able to work, or to take over at once: database and broker answer, topics exist, the last round was fine."""
        database, kafka = self._backlog is not None, self._missing_topics == []
        facts: dict[str, object] = {
            "role": "active" if self._active else "standby",
            "database": database,
            "kafka": kafka,
            "missing_topics": self._missing_topics,
            "outbox_pending": self._backlog.rows if self._backlog else None,
            "oldest_age_s": self._backlog.oldest_age_s if self._backlog else None,
            "trouble": self._trouble,
        }
        return database and kafka and self._trouble is None, facts

    async def _run_session(self) -> None:
        """Lead and publish until something breaks; or, while somebody else leads, wait a moment."""
        try:
            async with (
                self._pool.connection() as lead,
                leading(lead, Task.RELAY, incarnation=self._settings.incarnation) as leads,
            ):
                if leads:
                    self._set_active(True)
                    await self._publish_while_leading(lead)
                    return
            self._trouble = None
            await self._shutdown.sleep(STANDBY_PAUSE_S)
        except Exception as error:  # the edge of the loop: whatever broke, the rows are still there
            self._fail("session", repr(error))
            await self._shutdown.sleep(RETRY_PAUSE_S)
        finally:
            self._set_active(False)

    async def _publish_while_leading(self, lead: Connection) -> None:
        async with self._pool.connection() as connection:
            for statement in _SESSION:
                await connection.execute(statement)
            term = await start_term(connection, Task.RELAY, lead)
            pause_s = BUSY_PAUSE_S
            while not self._shutdown.asked:
                await check(lead)
                with self._metrics.histogram("cell_outbox_batch_seconds").labels(self._cell).time():
                    row_count = await self._publish_batch(connection, term)
                pause_s = next_pause_s(pause_s, row_count)
                if pause_s:
                    await self._shutdown.sleep(pause_s)

    async def _publish_batch(self, connection: Connection, term: UUID) -> int:
        now_s = asyncio.get_running_loop().time()
        self._passed_over = {user_id: until_s for user_id, until_s in self._passed_over.items() if until_s > now_s}
        rows = await claim_batch(connection, passed_over=self._passed_over)
        if not rows:
            self._all_is_well()
            return 0
        await self._faults.reach(AFTER_CLAIM)
        prepared = prepare(rows, cell=self._cell, topic_prefix=self._settings.kafka.topic_prefix)
        refusals = await self._send(prepared.messages)
        if refusals is None:
            return 0
        await self._faults.reach(AFTER_PRODUCE)
        confirmed = confirmed_rows(rows, prepared, refusals)
        await delete_published(connection, confirmed, term=term)
        self._count(prepared, refusals)
        await self._leave_lines(confirmed)
        if refusals:
            first = rows[prepared.row_of_message[refusals[0].index]]
            self._fail("refused", f"{len(refusals)} events refused, first: {refusals[0].reason}", first)
            self._passed_over |= dict.fromkeys(refused_users(rows, prepared, refusals), now_s + REFUSED_PAUSE_S)
            if len(self._passed_over) > PASSED_OVER_MAX:
                self._passed_over = {}
                await self._shutdown.sleep(RETRY_PAUSE_S)
        else:
            self._all_is_well()
        return len(rows)

    def _all_is_well(self) -> None:
        """Unless somebody's event is refused still."""
        if not self._passed_over:
            self._trouble = None

    async def _send(self, messages: list[OutgoingMessage]) -> list[Refusal] | None:
        """The refusals, or None if the end was asked for before all reports arrived."""
        sending = asyncio.create_task(self._producer.send_batch(messages))
        asked = asyncio.create_task(self._shutdown.wait())
        try:
            await asyncio.wait({sending, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await asyncio.wait({sending}, timeout=DRAIN_S)
            return sending.result() if sending.done() else None
        finally:
            asked.cancel()
            sending.cancel()

    async def _watch(self) -> None:
        """Measure the backlog and look for the topics, also while a batch waits for Kafka."""
        while True:
            await self._measure_backlog()
            await self._look_for_topics()
            fine = self._backlog is not None and self._missing_topics == []
            await asyncio.sleep(WATCH_PAUSE_S if fine else WATCH_RETRY_S)

    async def _measure_backlog(self) -> None:
        try:
            async with self._pool.connection() as connection:
                self._backlog = await read_backlog(connection)
        except Exception as error:  # readiness reports it; the publishing session finds out what it means for the work
            self._backlog = None
            _log.warning("cannot measure the outbox", extra={"reason": repr(error)})
            return
        self._metrics.gauge("cell_outbox_pending_rows").labels(self._cell).set(self._backlog.rows)
        self._metrics.gauge("cell_outbox_oldest_age_seconds").labels(self._cell).set(self._backlog.oldest_age_s)

    async def _look_for_topics(self) -> None:
        kafka = self._settings.kafka
        wanted = cell_topics(kafka.topic_prefix, self._cell)
        try:
            present = await broker_topics(kafka.bootstrap_servers, KAFKA_ANSWER_S)
        except BrokerUnreachable:
            self._missing_topics = None
        else:
            self._missing_topics = [topic for topic in wanted if topic not in present]

    def _set_active(self, active: bool) -> None:
        if active != self._active:
            _log.info("relay publishes" if active else "relay stands by", extra={"cell": self._cell})
        self._active = active
        self._metrics.gauge("cell_outbox_active").labels(self._cell).set(int(active))

    def _count(self, prepared: Prepared, refusals: list[Refusal]) -> None:
        counts = Counting(message.topic for message in prepared.messages)
        counts.subtract(prepared.messages[refusal.index].topic for refusal in refusals)
        topics = cell_topics(self._settings.kafka.topic_prefix, self._cell)
        for stream, topic in zip((ORDER_STREAM, LEDGER_STREAM), topics, strict=True):
            self._metrics.counter("cell_outbox_published_events_total").labels(self._cell, stream).inc(counts[topic])

    async def _leave_lines(self, confirmed: list[OutboxRow]) -> None:
        steps = [row.step for row in confirmed if row.step and self._order_log.picks_text(row.step.order_id)]
        published = [(UUID(step.order_id), {"status": step.to_status}) for step in steps]
        await leave_lines(self._pool, _log, "order event published", published)

    def _fail(self, result: str, reason: str, row: OutboxRow | None = None) -> None:
        self._trouble = reason
        self._metrics.counter("cell_outbox_failures_total").labels(self._cell, result).inc()
        ids = {} if row is None else _ids(row)
        _log.error("relay round failed", extra={"result": result, "reason": reason, **ids})


def _ids(row: OutboxRow) -> dict[str, object]:
    """The names in a line of the log of whom and what a row is about."""
    step = row.step
    names = {} if step is None else {"order_id": step.order_id, "client_order_id": step.client_order_id}
    return {"user_id": row.user_id, **names}


async def run_relay(settings: CellSettings, *, shutdown: Shutdown | None = None) -> None:
    """The process `python -m cell relay`: publish until a signal, then end within `DRAIN_S`."""
    if shutdown is None:
        shutdown = Shutdown()
        shutdown.install()
    metrics = Metrics(RELAY_METRICS)
    async with KafkaProducer(settings.kafka, f"{settings.name}-relay") as producer:
        relay = Relay(settings, producer=producer, metrics=metrics, shutdown=shutdown)
        async with serving(create_operator_app(metrics=metrics, ready=relay.ready), settings.operator):
            await relay.run()
