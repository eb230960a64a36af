"""What a cell asks of a venue, whatever protocol it speaks: the exchange's framed socket now, FIX 4.4 later.

Sending is fire and forget: nothing here says that an order arrived. What the venue did comes back as reports, in the
session's sequence, and `ask` tells whether the venue knows an order. A connection that broke raises VenueAway; its
`generation` is over, and whoever sent something in it must ask before sending again.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from cell.executions.report import ExecutionReport


class VenueAway(Exception):
    """There is no connection now, or it broke while somebody waited for an answer."""


class VenueSilent(VenueAway):
    """The connection is there, but this one question was not answered."""


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue is told."""

    order_id: UUID
    user_id: UUID
    client_order_id: str | None
    symbol: str
    side: str
    type: str
    time_in_force: str
    order_qty_micros: int | None
    limit_px_micros: int | None
    replaces: UUID | None = None
    """The order that this one replaces; its quantity is then the whole of that one, fills included."""
    cash_micros: int | None = None
    """The amount of an order by amount. Its quantity is then the most that a sale may take; a buy has none."""


@dataclass(frozen=True, slots=True)
class VenueListener:
    """Who hears what the venue says. `on_reports` may wait: that is how a slow cell slows the venue down."""

    received_seq: Callable[[], Awaitable[int]]
    on_reports: Callable[[list[ExecutionReport]], Awaitable[None]]
    on_prices: Callable[[Mapping[str, int], Mapping[str, tuple[int, int]], int], None]
    """Last prices that changed, all price bands of the venue's own, and the number of these prices: it grows with every
    message, is the same in every cell, and survives the venue. 0: the venue does not number them."""


class Venue(Protocol):
    """One session with one venue."""

    @property
    def name(self) -> str:
        """Stands in executions and the inbox."""
        ...

    @property
    def session(self) -> str:
        """The session's name, the same for ever."""
        ...

    @property
    def generation(self) -> int:
        """Counts connections; 0 while there was none."""
        ...

    async def run(self, listener: VenueListener) -> None:
        """Keep the session alive until cancelled."""
        ...

    async def wait_connected(self) -> int:
        """Wait for a connection; returns its generation."""
        ...

    async def submit(self, order: VenueOrder) -> None:
        """Send an order, idempotent by its id."""
        ...

    async def cancel(self, order_id: UUID, user_id: UUID) -> None:
        """Ask for the end of an order."""
        ...

    async def replace(self, order: VenueOrder) -> None:
        """Ask for this order in the place of another, idempotent by its id; answered by a report."""
        ...

    async def ask(self, order_id: UUID, user_id: UUID) -> bool:
        """Does the venue know this order? Raises VenueSilent if it does not say."""
        ...

    async def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` is committed here."""
        ...

    async def reset(self) -> None:
        """Drop the connection; `run` makes a new one and resumes from what is committed."""
        ...
