"""Orders that the venue does not answer: asked about, sent again, cancelled, and in the end shown to an operator.

An instruction that was sent and has no answer after some seconds is asked about, again and again. What the venue does
not know is sent again under the same id; what it knows is not. An order about which it stays silent is cancelled: it
becomes `pending_cancel`, and the venue is told. What is unanswered after all that is stuck: a metric, a line in
`shardctl cells summary`, an error in the log, and still asked about, less often. Nothing here ends an order or gives
back its funds: only the venue's word does.

What was tried is counted in the instruction's row, so a restart goes on where the last worker was. While the venue is
not connected nothing is asked and nothing is counted: then the whole venue is the problem, and has its own metric.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cell.executions.asking import Answers, ask_about
from cell.executions.instruction_queries import (
    Unanswered,
    cancel_unanswered,
    count_stuck,
    note_tries,
    unanswered_instructions,
)
from cell.executions.instruction_sender import ids_of
from cell.executions.repeating import Failures, repeat
from cell.executions.venue import Venue, VenueAway, VenueOrder
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.telemetry import Metrics

CHECK_PERIOD_S: Final = 1.0
"""Looks for what is due; a look that finds nothing is one step of an index."""
ASK_PAGE: Final = 256
"""Instructions read at once, to ask about."""
UNANSWERED_AFTER_S: Final = 5.0
"""Without an answer, before the first question and between questions: a venue answers in milliseconds."""
STUCK_PERIOD_S: Final = 60.0
"""Between questions about what an operator sees already."""
CANCEL_AT_TRY: Final = 3
"""Of a submit: after some fifteen seconds of silence the customer is better served by an end."""
STUCK_AT_TRY: Final = 5
"""After the cancel has had two tries of its own."""

_log = logging.getLogger(__name__)

Send = Callable[[str, VenueOrder], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about one unanswered instruction."""

    send: bool = False
    cancel: bool = False
    stuck: bool = False


def next_step(action: str, *, tries: int, known: bool | None, submit_waits: bool) -> Step:
    """What this try does. `known`: what the venue said when asked, None if it said nothing; `submit_waits`: the order's
    own submit is unanswered too, and so is sent before this."""
    this_try = tries + 1
    if action == "submit":
        # a known order has answered by being known: that report is on its way through the inbox
        send, cancel = known is False, known is not True and this_try == CANCEL_AT_TRY
    elif action == "replace":
        send, cancel = known is not True, False
    else:
        # a cancel of what the venue forgot would be refused, and the order look alive: that is for an operator
        send, cancel = known is not False or submit_waits, False
    return Step(send, cancel, this_try >= STUCK_AT_TRY)


class StuckSweep:
    """The unanswered instructions of one cell."""

    def __init__(self, pool: Pool, venue: Venue, send: Send, *, cell: str, clock: Clock, metrics: Metrics) -> None:
        self._pool = pool
        self._venue = venue
        self._send = send
        self._cell = cell
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Sweep until cancelled."""
        failures = Failures(self._metrics, self._cell)
        await repeat("unanswered", self._sweep_if_connected, failures, every_s=CHECK_PERIOD_S)

    async def _sweep_if_connected(self) -> None:
        await self._venue.wait_connected()
        try:
            await self.sweep()
        except VenueAway as error:
            _log.warning("sweep stopped", extra={"detail": str(error)})

    async def sweep(self) -> None:
        """One try for every instruction whose next try is due. Raises VenueAway."""
        after_id = 0

        async def next_page() -> Sequence[Unanswered]:
            nonlocal after_id
            page = await unanswered_instructions(
                self._pool,
                at=self._clock.now(),
                every_s=UNANSWERED_AFTER_S,
                stuck_every_s=STUCK_PERIOD_S,
                after_id=after_id,
                limit=ASK_PAGE,
            )
            after_id = page[-1].instruction_id if page else after_id
            return page

        await ask_about(self._venue, next_page, self._deal)
        self._metrics.gauge("cell_orders_stuck").labels(self._cell).set(await count_stuck(self._pool))

    async def _deal(self, page: Sequence[Unanswered], known: Answers) -> None:
        submits = {item.order.order_id for item in page if item.action == "submit"}
        steps = [
            next_step(
                item.action,
                tries=item.tries,
                known=known[item.order.order_id],
                submit_waits=item.order.order_id in submits,
            )
            for item in page
        ]
        for item, step in zip(page, steps, strict=True):
            if step.send:
                await self._send(item.action, item.order)
        to_cancel = [item.order for item, step in zip(page, steps, strict=True) if step.cancel]
        if to_cancel:
            await cancel_unanswered(self._pool, to_cancel)
        stuck = [item.instruction_id for item, step in zip(page, steps, strict=True) if step.stuck]
        await note_tries(self._pool, [item.instruction_id for item in page], stuck, self._clock.now())
        self._report(page, known, steps)

    def _report(self, page: Sequence[Unanswered], known: Answers, steps: Sequence[Step]) -> None:
        names = {True: "known", False: "unknown", None: "silent"}
        for result, count in Counter(names[answer] for answer in known.values()).items():
            self._metrics.counter("cell_instructions_asked_total").labels(self._cell, result).inc(count)
        for item, step in zip(page, steps, strict=True):
            about = {**ids_of(item.order), "action": item.action, "tries": item.tries + 1}
            if step.cancel:
                _log.warning("the venue does not answer, cancelling", extra=about)
            if step.stuck and item.tries < STUCK_AT_TRY:
                _log.error("an order is stuck at the venue", extra=about)
