"""Questions to the venue about many orders: what is answered is dealt with at once, and silence about one order stops
no other. Pages are asked one behind the other, up to a limit of unanswered questions, so a page with a silent order
does not make the next one wait for it.

Raises VenueAway when the connection breaks: then nothing more is known, and whoever asks begins again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar
from uuid import UUID

from cell.executions.venue import VenueOrder, VenueSilent
from infra.runtime.cancelling import cancel_all

UNANSWERED_MAX: Final = 4_096
"""Questions without an answer. So many silent orders make the others wait for one silence, a few seconds."""
DEAL_PERIOD_S: Final = 0.1
"""Answers of so long are dealt with together: it takes calls of the database."""


class Asked(Protocol):
    """The part of a venue that is needed here."""

    async def ask(self, order_id: UUID, user_id: UUID) -> bool:
        """Does it know this order? Raises VenueSilent if it does not say."""
        ...


class About(Protocol):
    """Something that has an order."""

    @property
    def order(self) -> VenueOrder:
        """The order to ask about."""
        ...


Item = TypeVar("Item", bound=About)
Answers = dict[UUID, bool | None]


async def ask_about(
    venue: Asked,
    next_page: Callable[[], Awaitable[Sequence[Item]]],
    deal: Callable[[list[Item], Answers], Awaitable[None]],
) -> None:
    """Ask until a page is empty and everything is answered. `deal` gets items in the order of pages, and what the venue
    said of each order: known, unknown, None for nothing.

    An order is asked about once, however many items name it; they are dealt with together and in order. The next page
    is read while fewer than `UNANSWERED_MAX` questions are open, so silence about some orders holds up no other, and is
    bounded. Raises what `next_page` and `deal` raise, and VenueAway; open questions are cancelled then.
    """
    asked: dict[UUID, list[Item]] = {}
    waiting: dict[asyncio.Task[bool | None], UUID] = {}
    is_last = False
    try:
        while waiting or not is_last:
            if not is_last and len(waiting) < UNANSWERED_MAX:
                page = await next_page()
                is_last = not page
                for item in page:
                    order_id = item.order.order_id
                    if order_id in asked:
                        asked[order_id].append(item)
                    else:
                        asked[order_id] = [item]
                        waiting[asyncio.create_task(_ask(venue, item.order))] = order_id
            if not waiting:
                continue
            done, _ = await asyncio.wait(waiting, timeout=DEAL_PERIOD_S)
            answers = {waiting.pop(task): task.result() for task in list(waiting) if task in done}
            if answers:
                await deal([item for order_id in answers for item in asked.pop(order_id)], answers)
    finally:
        await cancel_all(list(waiting))


async def _ask(venue: Asked, order: VenueOrder) -> bool | None:
    try:
        return await venue.ask(order.order_id, order.user_id)
    except VenueSilent:
        return None
