"""Preview an order: the very deed, rolled back.

The procedure that places orders decides, under the user's lock, and its transaction is undone. So a preview cannot say
yes where placing would say no, whatever rule is added later. It writes nothing that stays and uses no idempotency key.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from cell import errors
from cell.caller import Answer, Caller
from cell.money import format_micros, value_micros
from cell.orders.batcher import Outcome, Procedure, bind
from cell.orders.outcome import owned
from cell.orders.place import place_command
from cell.orders.queries import find_reference_price
from cell.orders.schemas import OrderTerms, parse_order
from infra.runtime.clock import Clock, TimeOrderedIds
from infra.runtime.database import Pool
from infra.runtime.procedures import rehearse


class Preview(msgspec.Struct):
    """What would come of the order."""

    would_accept: bool
    refusals: list[dict[str, Any]]
    hold: str | None
    """Reserved while it is open: dollars of a buy, shares of a sale."""
    estimated_cost: str | None
    """Of a buy, at its limit, else at the reference price; null without either. Proceeds of a sale are negative."""


async def preview_order(
    pool: Pool, procedure: Procedure, clock: Clock, new_id: TimeOrderedIds, caller: Caller, raw: bytes
) -> Answer:
    """200 with the verdict. Raises Problem for what is no order, 404, 421 and 503."""
    terms = parse_order(raw)
    command = place_command(terms, new_id, caller, f"preview-{new_id()}")
    rows = await rehearse(pool, procedure.sql, bind(procedure, [command], at=clock.now(), wait=True))
    outcome = owned(Outcome(*rows[0][1:]))
    price = terms.limit_px_micros or terms.stop_px_micros or await find_reference_price(pool, terms.symbol)
    accepted = outcome.outcome == "accepted"
    preview = Preview(
        would_accept=accepted,
        refusals=[] if accepted else [_refusal(outcome)],
        hold=_hold(terms, outcome.figures or {}) if accepted else None,
        estimated_cost=None if price is None else format_micros(_cost(terms, price)),
    )
    return Answer(200, msgspec.json.encode(preview))


def _refusal(outcome: Outcome) -> dict[str, Any]:
    problem = errors.refusal(outcome.outcome, outcome.figures)
    return {"code": problem.code, "detail": problem.detail, **problem.figures}


def _hold(terms: OrderTerms, figures: Mapping[str, Any]) -> str:
    return format_micros(terms.order_qty_micros if terms.side == "sell" else int(figures["held"]))


def _cost(terms: OrderTerms, price_micros: int) -> int:
    value = value_micros(terms.order_qty_micros, price_micros)
    return -value if terms.side == "sell" else value
