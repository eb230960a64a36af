"""The running market: book, log, connections and prices, tied together in one event loop.

Requests change the book at once; a commit loop makes whatever collected durable as one batch (so many requests share
one flush to disk), and only then are reports released, status questions answered and tapes confirmed. A failed write
ends the process. `stop` writes what is left and closes.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import uuid4

import msgspec

from exchange.admin_verbs import AdminVerbs
from exchange.book import CLOSED_THROUGH, Book
from exchange.errors import BadFrame
from exchange.faults import Faults
from exchange.hours import ALWAYS, TradingHours
from exchange.live_order import rfc3339
from exchange.log import DurableLog
from exchange.log_rows import Batch, ReportRow
from exchange.price_numbers import RESERVED, PriceNumbers
from exchange.prices import PriceBoard
from exchange.sessions import CellConnection, SessionFeed
from exchange.tape import parse_tape
from exchange.wire import Ack, Cancel, FromCell, Hello, Prices, Replace, Status, Submit, Unknown, Welcome
from infra.runtime.fault_points import FaultPoints
from infra.runtime.telemetry import Metrics

PRICE_PERIOD_S: Final = 0.5
"""Between two price messages. They are the heartbeat as well: a cell gives the venue up after 5 s without one."""
PENDING_ROWS_MAX: Final = 20_000
"""Rows that may wait for the disk before reading from cells stops: about a second of writing on a slow disk."""
TIMER_STEP_S: Final = 0.001
"""The shortest wait for a planned step: without it, steps that are overdue would take the loop for themselves."""
_SESSION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

_log = logging.getLogger(__name__)


class Market:
    """One exchange."""

    def __init__(
        self,
        log: DurableLog,
        *,
        seed: int,
        metrics: Metrics,
        fault_points: FaultPoints,
        hours: TradingHours = ALWAYS,
        now_us: Callable[[], int],
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._fault_points = fault_points
        self._now_us = now_us
        self._hours = hours
        self._feeds: dict[str, SessionFeed] = {}
        self._connections: set[CellConnection] = set()
        self._published_prices: dict[str, int] = {}
        self._after_commit: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_us = 0
        self._stopping = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="exchange-log")
        self._prices = PriceBoard(seed, log.prices(), now_us())
        self._book = Book(
            seed,
            self._prices,
            find_order=log.find_order,
            faults=_recover_faults(log),
            hours=hours,
            closed_through_us=self._recover_close(),
        )
        self._recover()
        self._numbers = self._recover_numbers()
        at_us = now_us()
        self._last_published = Prices(self._snapshot(at_us), rfc3339(at_us), number=self._numbers.next(at_us))
        self.admin = AdminVerbs(
            self._book,
            log,
            self._prices,
            now_us=now_us,
            committed=self._committed,
            publish_prices=self._publish_prices,
            is_connected=lambda session: session in self._feeds and self._feeds[session].connection is not None,
        )

    def _recover(self) -> None:
        sessions = self._log.sessions()
        self._book.restore(
            self._log.live_orders(),
            sessions,
            [
                parse_tape(row.content, symbol=row.symbol, run=row.run, waits_for_replace=row.waits_for_replace)
                for row in self._log.tapes()
            ],
            self._log.taken_tape_orders(),
            self._log.count_orders_by_status(),
        )
        for session, last_seq, _ in sessions:
            self._feed(session).durable_seq = last_seq
        _log.info("recovered", extra={"live_orders": len(self._book.orders), "sessions": len(sessions)})

    def _recover_close(self) -> int:
        """Up to which moment days were closed; a new exchange begins now."""
        known = self._log.fact(CLOSED_THROUGH)
        return self._now_us() if known is None else int(known)

    def _recover_numbers(self) -> PriceNumbers:
        """Numbers behind all that were ever published, with a reserve that is durable before the first of them is."""
        numbers = PriceNumbers(int(self._log.fact(RESERVED) or 0))
        upto = numbers.wanted(self._now_us())
        if upto is not None:
            self._log.write(Batch(facts=[(RESERVED, str(upto))]))
            numbers.reserve(upto)
        return numbers

    # -- loops ------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then write what is left. Raises if the log cannot be written."""
        async with asyncio.TaskGroup() as tasks:
            commits = tasks.create_task(self._commit_loop())
            prices = tasks.create_task(self._price_loop())
            self._mark_changed()
            await stop.wait()
            self._stopping = True
            for connection in self._connections:
                connection.hold_reading(True)
            prices.cancel()
            self._changed.set()
            await commits
        for connection in set(self._connections):
            connection.close()
        self._writer.shutdown()

    def connect(self) -> CellConnection:
        """A protocol for a new connection."""
        connection = CellConnection(self)
        self._connections.add(connection)
        return connection

    async def _commit_loop(self) -> None:
        """Write what has collected as one batch, then let it out: reports, answers, confirmations, in this order.

        What comes while a batch is being written goes into the next one. An error here ends the process.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            batch = self._book.take_batch()
            after_commit, self._after_commit = self._after_commit, []
            if batch.row_count:
                started = time.perf_counter()
                await self._fault_points.reach("exchange.before_commit")
                await loop.run_in_executor(self._writer, self._log.write, batch)
                await self._fault_points.reach("exchange.after_commit")
                self._metrics.histogram("exchange_commit_seconds").observe(time.perf_counter() - started)
                self._metrics.histogram("exchange_commit_rows").observe(batch.row_count)
                self._release(batch)
            for notify in after_commit:
                notify()
            # Cells are read again when the log has caught up.
            self._hold_reading(self._book.pending_count > PENDING_ROWS_MAX)
            # What came while the last batch was written is written, too.
            if self._stopping and not self._changed.is_set():
                return

    def _release(self, batch: Batch) -> None:
        self._book.orders.forget_ended(batch.orders)
        by_session: dict[str, list[ReportRow]] = {}
        for row in batch.reports:
            by_session.setdefault(row.session, []).append(row)
        for session, rows in by_session.items():
            self._feed(session).release(rows)
        self._metrics.counter("exchange_reports_total").inc(len(batch.reports))
        self._metrics.gauge("exchange_live_orders").set(len(self._book.orders))

    async def _price_loop(self) -> None:
        while True:
            await asyncio.sleep(PRICE_PERIOD_S)
            self._publish_prices()

    def _publish_prices(self) -> None:
        now_us = self._now_us()
        prices = self._snapshot(now_us)
        changed = {symbol: px for symbol, px in prices.items() if self._published_prices.get(symbol) != px}
        self._published_prices = prices
        self._book.meet_prices(changed, now_us)
        upto = self._numbers.wanted(now_us)
        if upto is not None:
            self._book.remember(RESERVED, str(upto))
            # Numbers are given out only once their reserve is durable: a crash never gives one twice.
            self._after_commit.append(lambda: self._numbers.reserve(upto))
        self._mark_changed()
        all_prices = self._last_published = Prices(
            prices, rfc3339(now_us), self._book.tapes.price_bands(), self._numbers.next(now_us)
        )
        changes = msgspec.structs.replace(all_prices, prices=changed)
        for feed in self._feeds.values():
            connection = feed.connection
            if connection is None:
                continue
            if not connection.paused:  # who missed one message has them all with the next one
                connection.send(all_prices if connection.missed_prices else changes)
            connection.missed_prices = connection.paused

    def _snapshot(self, now_us: int) -> dict[str, int]:
        return self._prices.snapshot(self._hours.last_trading_us(now_us))

    def _hold_reading(self, hold: bool) -> None:
        for connection in self._connections:
            connection.hold_reading(hold)

    def _mark_changed(self) -> None:
        """Wake the commit loop, stop reading if it is far behind, and set the timer for the next planned step."""
        self._changed.set()
        if self._book.pending_count > PENDING_ROWS_MAX:
            self._hold_reading(True)
        due_us = self._book.next_due_us()
        # A timer that is earlier finds out by itself what is due next.
        if due_us is None or (self._timer is not None and self._timer_at_us <= due_us) or self._stopping:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(TIMER_STEP_S, (due_us - self._now_us()) / 1_000_000)
        self._timer_at_us = due_us
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._advance)

    def _advance(self) -> None:
        self._timer = None
        self._book.advance(self._now_us())
        self._mark_changed()

    # -- what connections ask (CellVerbs) -------------------------------------------------------------------------

    def greet(self, connection: CellConnection, hello: Hello) -> None:
        """Open the session: acknowledge what the cell has, welcome it, and send what it lacks. Raises BadFrame."""
        if not _SESSION.fullmatch(hello.session):
            raise BadFrame("hello names no session")
        now_us = self._now_us()
        last_seq = self._book.reports.open_session(hello.session, hello.received)
        feed = self._feed(hello.session)
        if hello.received > feed.durable_seq:
            _log.warning("a cell knows more than the log", extra={"session": hello.session, "received": hello.received})
            # It has committed them: our log is older than it was (a copy was put back). Never below what it has.
            feed.durable_seq = max(feed.durable_seq, hello.received)
        feed.connect(connection, hello.received)
        last, bands = self._last_published, self._book.tapes.price_bands()
        at = rfc3339(now_us)
        connection.send(
            Welcome(str(uuid4()), self._log.log_id, self._prices.symbols, last.prices, at, bands, last.number)
        )
        feed.pump()
        self._count_connected()
        self._mark_changed()
        extra = {"session": hello.session, "received": hello.received, "last_seq": last_seq}
        _log.info("session opened", extra=extra)

    def receive(self, connection: CellConnection, message: FromCell) -> None:
        """Let a message change the book."""
        session = connection.session
        assert session is not None
        now_us = self._now_us()
        self._metrics.counter("exchange_messages_total").labels(type(message).__name__.lower()).inc()
        if isinstance(message, Submit):
            self._book.submit(session, message, now_us)
        elif isinstance(message, Cancel):
            self._book.cancel(session, message, now_us)
        elif isinstance(message, Replace):
            self._book.replace(session, message, now_us)
        elif isinstance(message, Status):
            if not self._book.status(session, message, now_us):
                connection.send(Unknown(message.cl_ord_id))
        elif isinstance(message, Ack):
            self._book.reports.acknowledge(session, message.seq)
        self._mark_changed()

    def bad_frame(self, connection: CellConnection, error: BadFrame) -> None:
        """Count it; the connection closes itself."""
        self._metrics.counter("exchange_bad_frames_total").inc()

    def part(self, connection: CellConnection) -> None:
        """Forget a connection; its session stays."""
        self._connections.discard(connection)
        for feed in self._feeds.values():
            if feed.connection is connection:
                feed.connection = None
        self._count_connected()

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _committed(self) -> None:
        committed = asyncio.Event()
        self._after_commit.append(committed.set)
        self._mark_changed()
        await committed.wait()

    def _feed(self, session: str) -> SessionFeed:
        feed = self._feeds.get(session)
        if feed is None:
            feed = self._feeds[session] = SessionFeed(session, self._log.reports_after)
        return feed

    def _count_connected(self) -> None:
        connected = sum(1 for feed in self._feeds.values() if feed.connection is not None)
        self._metrics.gauge("exchange_connected_sessions").set(connected)


def _recover_faults(log: DurableLog) -> Faults:
    encoded = log.fact("faults")
    return Faults() if encoded is None else msgspec.json.decode(encoded, type=Faults)
