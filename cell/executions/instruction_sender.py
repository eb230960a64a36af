"""Instructions out: claimed and marked sent in the database first, then sent.

A crash or a broken connection between the two leaves an instruction that is marked and perhaps unsent. So on every new
connection the venue is asked first, in the order of instructions; what it does not know is sent again under the same
id, what it knows is not. A cancel never overtakes its own order. What stays unanswered later is for the sweep
(`sweep.py`), as is an order about which the venue is silent: it must not keep the others waiting.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from cell.executions.asking import Answers, ask_about
from cell.executions.batches import Batches
from cell.executions.instruction_queries import Instruction, claim_instructions, sent_instructions
from cell.executions.pace import Pace
from cell.executions.repeating import Failures, repeat
from cell.executions.venue import Venue, VenueAway, VenueOrder
from cell.order_log import EVERY_HUNDREDTH, OrderLog, leave_lines
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.telemetry import Metrics

CLAIM_MAX: Final = 64
"""Instructions, and so users locked, of one claim: as a batch of commands, for the same reason."""
ASK_PAGE: Final = 256
"""Instructions read at once, to ask about."""
CLAIM_PERIOD_S: Final = 0.025
"""Between two claims that are not full; `pace.py` says what that buys and costs."""
POLL_S: Final = (0.005, 0.1)
"""Between two claims that find nothing, growing by half: an idle cell asks ten times a second."""
RETRY_S: Final = 0.2
"""After a call that failed: a database that restarts is met soon and not hammered."""

_log = logging.getLogger(__name__)


class InstructionSender:
    """Everything this cell has to say to its venue."""

    def __init__(
        self,
        pool: Pool,
        venue: Venue,
        *,
        cell: str,
        metrics: Metrics,
        fault_points: FaultPoints,
        order_log: OrderLog = EVERY_HUNDREDTH,
        batches: Batches | None = None,
    ) -> None:
        self._batches = batches or Batches()
        self._pool = pool
        self._venue = venue
        self._cell = cell
        self._metrics = metrics
        self._fault_points = fault_points
        self._order_log = order_log
        self._pace = Pace(CLAIM_PERIOD_S)
        self._after: UUID | None = None
        """The user who was served last."""

    async def run(self) -> None:
        """Send instructions until cancelled."""
        failures = Failures(self._metrics, self._cell)
        await repeat("instructions", self._send_while_connected, failures, every_s=0.0, retry_s=RETRY_S)

    async def _send_while_connected(self) -> None:
        """All of one connection's life."""
        generation = await self._venue.wait_connected()
        self._metrics.gauge("cell_venue_generation").labels(self._cell).set(generation)
        try:
            await self._settle_sent()
            await self._send_while(generation)
        except VenueAway as error:
            _log.warning("sending stopped", extra={"detail": str(error)})
            await asyncio.sleep(POLL_S[1])

    async def _send_while(self, generation: int) -> None:
        """Claim and send, quickly while there is work and rarely while there is none."""
        pause_s = POLL_S[0]
        is_full = False
        while self._venue.generation == generation:
            if not is_full:
                await self._pace.turn()
            await self._fault_points.reach("executions.before_claim")
            self._pace.started()
            async with self._batches.one():
                sent = await self._claim_and_send()
            is_full = sent == CLAIM_MAX
            if sent:
                pause_s = POLL_S[0]
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(POLL_S[1], pause_s * 1.5)

    async def _claim_and_send(self) -> int:
        """How many."""
        claimed = await claim_instructions(self._pool, CLAIM_MAX, self._after)
        self._after = claimed.next_after
        if claimed.instructions:
            await self._fault_points.reach("executions.after_claim")
            await self._send_all((each.action, each.order) for each in claimed.instructions)
            await self._fault_points.reach("executions.after_send")
        return len(claimed.instructions)

    async def send(self, action: str, order: VenueOrder) -> None:
        """Tell the venue. Raises VenueAway."""
        await self._send_all([(action, order)])

    async def _send_all(self, told: Iterable[tuple[str, VenueOrder]]) -> None:
        """In this order; then the lines of those that were sent, whose ids are read at once. Raises VenueAway."""
        picked: list[tuple[UUID, Mapping[str, Any]]] = []
        try:
            for action, order in told:
                await self._send(action, order)
                if self._order_log.picks(order.order_id):
                    picked.append((order.order_id, {"action": action}))
        finally:
            await leave_lines(self._pool, _log, "instruction sent", picked)

    async def _send(self, action: str, order: VenueOrder) -> None:
        if action == "submit":
            await self._venue.submit(order)
        elif action == "replace":
            await self._venue.replace(order)
        else:
            await self._venue.cancel(order.order_id, order.user_id)
        self._metrics.counter("cell_instructions_sent_total").labels(self._cell, action).inc()

    async def _settle_sent(self) -> None:
        """Ask about every order whose instruction was marked sent and never answered; send what is unknown there."""
        after_id = 0

        async def next_page() -> Sequence[Instruction]:
            nonlocal after_id
            page = await sent_instructions(self._pool, after_id=after_id, limit=ASK_PAGE)
            after_id = page[-1].instruction_id if page else after_id
            return page

        await ask_about(self._venue, next_page, self._settle)

    async def _settle(self, sent: Sequence[Instruction], known: Answers) -> None:
        again = []
        for instruction in sent:
            answer = known[instruction.order.order_id]
            if answer is False or (answer is True and instruction.action in ("cancel", "expire")):
                again.append((instruction.action, instruction.order))
        await self._send_all(again)
        count = Counter(known.values())
        asked = self._metrics.counter("cell_instructions_asked_total")
        for answer, name in ((True, "known"), (False, "unknown"), (None, "silent")):
            asked.labels(self._cell, name).inc(count[answer])
        _log.info("asked about sent instructions", extra={"orders": len(known), "known": count[True]})


def ids_of(order: VenueOrder) -> dict[str, object]:
    """The names of an order in a line of the log."""
    return {"order_id": order.order_id, "client_order_id": order.client_order_id, "user_id": order.user_id}
