"""Reports in: committed, then acknowledged, then applied once, in each user's order.

Intake commits whatever has arrived as one batch; only then is it acknowledged, so the venue keeps what a crash took.
A report that the database cannot even store is committed as its bytes, and quarantined: it stops nobody's intake.
Applying is separate and may lag: up to 64 users per call, two calls in flight, calls for a few reports at a `Pace`. A
report whose user is locked, halted or gone is deferred and stays in the inbox. A call that the database refuses is
repeated one report at a time; a report whose content it refuses again and again is quarantined, so that it holds up
neither its user nor anybody else. A database that is away, or a procedure that is broken, quarantines nothing: the same
report is tried until it works. A report that came before what it needs (the execution which it takes back, room in
its order) leaves the inbox, and the call that hears of that puts it back; if that call's answer is lost, the whole
inbox is looked through again. So it is every few seconds, for what a person has judged again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from cell.executions.batches import Batches
from cell.executions.lanes import LANE_MAX, ReportLanes
from cell.executions.pace import Pace
from cell.executions.repeating import Failures, repeat
from cell.executions.report import ExecutionReport
from cell.executions.report_queries import (
    Applied,
    accept_reports,
    apply_reports,
    named_by,
    quarantine_report,
    unapplied_reports,
    unapplied_reports_of,
)
from cell.executions.settlement import settlement_date
from cell.executions.venue import Venue, VenueAway
from cell.order_log import EVERY_HUNDREDTH, OrderLog, leave_lines
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.procedures import CallFailed, DatabaseFailure
from infra.runtime.telemetry import Metrics

ACCEPT_MAX: Final = 512
"""Reports of one intake, which is one transaction; more would only make the acknowledgement later."""
ACCEPT_PERIOD_S: Final = 0.0125
"""Between two intakes that are not full: half an application's, so that intake is never what an answer waits for."""
ARRIVED_MAX: Final = 4_096
"""Reports in memory before they are committed: eight intakes. Beyond it the socket is not read."""
WAITING_MAX: Final = 50_000
"""Reports that could be applied, if there were time: beyond it the venue waits. Those of locked users do not count."""
APPLY_MAX: Final = 64
"""Reports, and so users locked, of one call: as a batch of commands, for the same reason."""
APPLIERS: Final = 2
"""Calls in flight: a second hides the first one's commit; more only split the batches."""
APPLY_PERIOD_S: Final = 0.025
"""Between two calls that are not full; `pace.py` says what that buys and costs."""
PAGE: Final = 5_000
"""Inbox rows read at once after a start: ids only."""
LOOK_PERIOD_S: Final = 5.0
"""How long a report that a person has put back may lie unnoticed."""
CONTENT_REFUSALS_MAX: Final = 3
"""Before a report is quarantined for its content: what a race caused is gone the next time."""
RETRY_S: Final = 0.2
"""After a call that failed: a database that restarts is met soon and not hammered."""
GAP_SQLSTATE: Final = "RB020"
"""`accept_reports_v1` was given a report whose number does not follow the last committed one."""
CONTENT_CLASS: Final = "22"
"""Data exceptions: a value that no column can hold."""
CONTENT_CLASSES: Final = (CONTENT_CLASS, "23", "RB")
"""With violated constraints and our procedures' own refusals: what a report's content can be the cause of."""

_log = logging.getLogger(__name__)


class Inbox:
    """One session's reports, from the socket to the books."""

    def __init__(
        self,
        pool: Pool,
        venue: Venue,
        *,
        cell: str,
        clock: Clock,
        metrics: Metrics,
        fault_points: FaultPoints,
        order_log: OrderLog = EVERY_HUNDREDTH,
        batches: Batches | None = None,
    ) -> None:
        self._batches = batches or Batches()
        self._pool = pool
        self._venue = venue
        self._cell = cell
        self._clock = clock
        self._metrics = metrics
        self._failures = Failures(metrics, cell)
        self._fault_points = fault_points
        self._order_log = order_log
        self._arrived: asyncio.Queue[ExecutionReport] = asyncio.Queue(ARRIVED_MAX)
        self._lanes = ReportLanes()
        metrics.gauge("cell_reports_waiting").labels(cell).set_function(lambda: len(self._lanes))
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._intake_pace = Pace(ACCEPT_PERIOD_S)
        self._apply_pace = Pace(APPLY_PERIOD_S)
        self._content_refusals: dict[int, int] = {}
        self._lost_an_answer = False

    async def recover(self) -> None:
        """Take up what is in the inbox and not known here: an earlier worker left it, or an answer was lost."""
        after_id, found = 0, 0
        while page := await unapplied_reports(self._pool, after_id, PAGE):
            for inbox_id, user_id in page:
                found += self._lanes.add(inbox_id, user_id)
            after_id = page[-1][0]
        if found:
            _log.info("unapplied reports found", extra={"count": found})
        self._work.set()

    async def put(self, reports: list[ExecutionReport]) -> None:
        """Reports arrived; waits while there are too many."""
        for report in reports:
            await self._arrived.put(report)

    async def run_intake(self) -> None:
        """Commit what arrives, acknowledge it, hand it on."""
        while True:
            batch = [await self._arrived.get()]
            # A full batch is there already: waiting for the pace would only make it late.
            if self._arrived.qsize() < ACCEPT_MAX:
                await self._intake_pace.turn()
            self._intake_pace.started()
            while len(batch) < ACCEPT_MAX and not self._arrived.empty():
                batch.append(self._arrived.get_nowait())
            async with self._batches.one():
                await self._accept(batch)
            # Those that wait for another writer do not count: one locked user must not stop the intake.
            while self._lanes.free > WAITING_MAX:
                self._room.clear()
                await self._room.wait()

    async def run_applier(self) -> None:
        """Apply committed reports until cancelled."""
        while True:
            # As at the intake: with a full call's worth nothing is gained by waiting.
            if len(self._lanes) < APPLY_MAX:
                await self._apply_pace.turn()
            await self._read_more()
            inbox_ids = self._lanes.take(APPLY_MAX, self._clock.monotonic())
            if inbox_ids:
                self._apply_pace.started()
                async with self._batches.one():
                    await self._apply(inbox_ids)
                await self._fault_points.reach("executions.after_apply")
            else:
                await self._wait_for_work()

    async def _read_more(self) -> None:
        """Of users who had more than their lane takes."""
        while (user_id := self._lanes.next_emptied()) is not None:
            try:
                for inbox_id in await unapplied_reports_of(self._pool, user_id, LANE_MAX + 1):
                    self._lanes.add(inbox_id, user_id)
            except DatabaseFailure as error:
                self._lanes.empty(user_id)
                await self._pause("apply", error)
                return

    async def run_lookout(self) -> None:
        """Take up what somebody else put into the inbox: a person had a quarantined report judged again."""
        await repeat("lookout", self._look, self._failures, every_s=LOOK_PERIOD_S, first_after_s=LOOK_PERIOD_S)

    async def _look(self) -> None:
        if self._lanes.free < PAGE:  # a backlog would be read again and again
            await self.recover()

    async def _accept(self, batch: Sequence[ExecutionReport]) -> None:
        """Commit a batch, hand it on, acknowledge it; ends when it is committed, or a gap is found.

        A gap in the session: drop the connection, the venue resends from where the inbox ends. Content that cannot be
        stored: the batch one report at a time, and that one as its bytes. Anything else that fails: the same again.
        """
        accepted = None
        while accepted is None:
            try:
                accepted = await accept_reports(
                    self._pool,
                    venue=self._venue.name,
                    session=self._venue.session,
                    reports=batch,
                    at=self._clock.now(),
                )
            except CallFailed as error:
                if error.sqlstate == GAP_SQLSTATE:
                    _log.error("a gap in the session, resuming", extra={"detail": str(error)})
                    await self._venue.reset()
                    return
                if error.sqlstate.startswith(CONTENT_CLASS):
                    if len(batch) > 1:
                        for report in batch:
                            await self._accept([report])
                        return
                    fields = {"seq": batch[0].seq, "order_id": batch[0].order_id, "detail": str(error)}
                    _log.error("a report that the inbox cannot hold", extra=fields)
                    batch = [batch[0].set_apart()]
                await self._pause("intake", error)
            except DatabaseFailure as error:
                await self._pause("intake", error)
        await self._fault_points.reach("executions.after_inbox_commit")
        for inbox_id, user_id in accepted.fresh:
            self._lanes.add(inbox_id, user_id)
        self._metrics.counter("cell_reports_accepted_total").labels(self._cell).inc(len(accepted.fresh))
        self._work.set()
        with contextlib.suppress(VenueAway):  # the next hello says the same
            await self._venue.acknowledge(accepted.received_seq)
        stored = [
            (report.order_id, {"kind": report.kind, "seq": report.seq})
            for report in batch
            if report.order_id is not None and self._order_log.picks(report.order_id)
        ]
        await leave_lines(self._pool, _log, "report stored", stored)

    async def _apply(self, inbox_ids: list[int]) -> None:
        """One call. Refused as a whole: each report alone. Lost: all are deferred, and the inbox is read again later,
        because reports that the call put back are not known here. Else by outcome: `returned` joins its lane,
        `deferred` is tried again after a pause, everything else is done with; what the call did not mention was
        applied before.
        """
        try:
            with self._metrics.histogram("cell_reports_apply_seconds").labels(self._cell).time():
                settles_on = settlement_date(self._clock.now().date())
                results = await apply_reports(self._pool, inbox_ids, settles_on=settles_on)
            if self._lost_an_answer:
                self._lost_an_answer = False
                await self.recover()
        except CallFailed as error:
            await self._apply_apart(inbox_ids, error)
            return
        except DatabaseFailure as error:
            self._lost_an_answer = True
            self._defer(inbox_ids)
            await self._pause("apply", error)
            return
        missing, picked = set(inbox_ids), []
        for result in results:
            missing.discard(result.inbox_id)
            self._metrics.counter("cell_reports_applied_total").labels(self._cell, result.outcome).inc()
            if result.outcome == "returned":
                self._lanes.add(result.inbox_id, result.user_id)
                self._work.set()
            elif result.outcome == "deferred":
                self._defer([result.inbox_id])
            else:
                self._finish(result.inbox_id)
            if result.outcome == "quarantined":
                _log.error("report quarantined", extra=_about(result))
            elif result.outcome == "early":  # so far the venue's account of the order is not to be believed
                _log.warning("report waits", extra=_about(result))
            elif result.order_id is not None and self._order_log.picks(result.order_id):
                picked.append((result.order_id, _about(result)))
        await leave_lines(self._pool, _log, "report applied", picked)
        for inbox_id in missing:  # applied before: a call whose answer was lost, or an earlier worker's
            self._finish(inbox_id)

    async def _apply_apart(self, inbox_ids: list[int], error: CallFailed) -> None:
        """Find the poison report of the batch: each one alone, and that one into quarantine."""
        if len(inbox_ids) > 1:
            for inbox_id in inbox_ids:
                await self._apply([inbox_id])
            return
        (inbox_id,) = inbox_ids
        try:
            about = await named_by(self._pool, inbox_id)
        except DatabaseFailure as failure:
            self._defer(inbox_ids)
            await self._pause("apply", failure)
            return
        refusals = self._content_refusals.get(inbox_id, 0) + error.sqlstate.startswith(CONTENT_CLASSES)
        self._content_refusals[inbox_id] = refusals
        _log.error("report refused", extra={"inbox_id": inbox_id, "detail": str(error), **about})
        if refusals >= CONTENT_REFUSALS_MAX:
            await self._quarantine(inbox_id, f"cannot be applied: {error}")
        else:
            self._defer(inbox_ids)
            await self._pause("apply", error)

    async def _quarantine(self, inbox_id: int, reason: str) -> None:
        try:
            await quarantine_report(self._pool, inbox_id, reason[:500], self._clock.now())
        except DatabaseFailure as error:
            self._defer([inbox_id])
            await self._pause("apply", error)
        else:
            self._metrics.counter("cell_reports_applied_total").labels(self._cell, "quarantined").inc()
            self._finish(inbox_id)

    def _finish(self, inbox_id: int) -> None:
        self._content_refusals.pop(inbox_id, None)
        self._lanes.finish(inbox_id)
        self._work.set()
        self._room.set()

    def _defer(self, inbox_ids: Sequence[int]) -> None:
        now_s = self._clock.monotonic()
        for inbox_id in inbox_ids:
            self._lanes.defer(inbox_id, now_s)

    async def _wait_for_work(self) -> None:
        self._work.clear()
        moment_s = self._lanes.next_moment_s()
        pause_s = None if moment_s is None else max(0.001, moment_s - self._clock.monotonic())
        try:
            async with asyncio.timeout(pause_s):
                await self._work.wait()
        except TimeoutError:
            return

    async def _pause(self, task: str, error: DatabaseFailure) -> None:
        self._failures.note(task, error)
        await asyncio.sleep(RETRY_S)


def _about(result: Applied) -> dict[str, object]:
    ids = {"inbox_id": result.inbox_id, "order_id": result.order_id, "user_id": result.user_id}
    return {**ids, "outcome": result.outcome, "reason": result.reason}
