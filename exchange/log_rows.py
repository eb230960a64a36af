"""What the log holds: its rows as values, and how they are written and read. A batch is written whole or not at all."""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from exchange.paper import Step
from exchange.prices import BasePrice
from exchange.wire import Submit

_steps_decoder: Final = msgspec.json.Decoder(tuple[Step, ...])
_terms_decoder: Final = msgspec.json.Decoder(Submit)

TapeKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order as it stands; `live` while a step is planned or something is left to trade."""

    terms: Submit
    session: str
    venue_order_id: str
    ord_status: str
    cum_qty: int
    fill_count: int
    steps: tuple[Step, ...]
    waits: bool
    live: bool
    tape_key: TapeKey | None
    cum_cost: int | None


@dataclass(frozen=True, slots=True)
class TradedOrder:
    """What an order traded, as whoever reconciles wants it."""

    cl_ord_id: str
    session: str
    ord_status: str
    cum_qty: int
    cum_cost: int | None
    executions: int
    """Fills, busts and corrections."""
    account: str
    """As who placed it named it: a cell's user."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report as it will travel: `body` is its JSON."""

    session: str
    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class TapeRow:
    """A loaded tape's original bytes."""

    symbol: str
    run: str
    digest: str
    content: bytes
    loaded_at: str
    waits_for_replace: bool = False


@dataclass(slots=True)
class Batch:
    """Everything that changed since the last batch: written together or not at all."""

    orders: list[OrderRow] = field(default_factory=list)
    reports: list[ReportRow] = field(default_factory=list)
    sessions: list[tuple[str, int, int]] = field(default_factory=list)
    prices: list[tuple[str, BasePrice]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    tapes: list[TapeRow] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        """How many rows it holds."""
        of_orders = len(self.orders) + len(self.reports) + len(self.sessions)
        return of_orders + len(self.prices) + len(self.facts) + len(self.tapes)


def tape_values(row: TapeRow) -> tuple[object, ...]:
    """As it is written."""
    return (row.symbol, row.run, row.digest, row.content, row.loaded_at, row.waits_for_replace)


def order_values(row: OrderRow) -> tuple[object, ...]:
    """As it is written."""
    tape_symbol, tape_run, tape_id = row.tape_key or (None, None, None)
    return (
        row.terms.cl_ord_id,
        row.session,
        msgspec.json.encode(row.terms),
        row.venue_order_id,
        row.ord_status,
        row.cum_qty,
        row.fill_count,
        msgspec.json.encode(row.steps),
        row.waits,
        row.live,
        tape_symbol,
        tape_run,
        tape_id,
        None if row.cum_cost is None else str(row.cum_cost),  # beyond 64 bits for large orders
    )


def traded_order(found: tuple[Any, ...]) -> TradedOrder:
    """As it was read."""
    cl_ord_id, session, ord_status, cum_qty, cum_cost, executions, terms = found
    cost = None if cum_cost is None else int(cum_cost)
    account = _terms_decoder.decode(terms).account
    return TradedOrder(cl_ord_id, session, ord_status, cum_qty, cost, executions, account)


def order_row(found: tuple[Any, ...]) -> OrderRow:
    """As it was read."""
    (session, terms, venue_order_id, ord_status, cum_qty, fill_count, steps, waits, live, symbol, run, tape_id,
     cum_cost) = found  # fmt: skip
    return OrderRow(
        terms=_terms_decoder.decode(terms),
        session=session,
        venue_order_id=venue_order_id,
        ord_status=ord_status,
        cum_qty=cum_qty,
        fill_count=fill_count,
        steps=_steps_decoder.decode(steps),
        waits=bool(waits),
        live=bool(live),
        tape_key=None if tape_id is None else (symbol, run, tape_id),
        cum_cost=None if cum_cost is None else int(cum_cost),
    )
