"""Preview an order: the same judgement, and nothing is written.

The procedure that places orders decides, as it would at that moment, and writes nothing. So a preview cannot say yes
where placing would say no, whatever rule is added later. It is an estimate: it takes no lock and waits for none, so
what another writer of the user has not committed yet does not count. It uses no idempotency key.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec

from cell import errors
from cell.caller import Answer, Caller
from cell.commands.command import Outcome, Procedure, bind
from cell.commands.outcome import owned
from cell.money import format_micros, value_micros
from cell.orders.place import place_command
from cell.orders.queries import find_reference_price
from cell.orders.schemas import OrderTerms, parse_order
from infra.runtime.database import Pool
from infra.runtime.logs import NO_REQUEST
from infra.runtime.procedures import rehearse


class Preview(msgspec.Struct):
    """What would come of the order."""

    would_accept: bool
    refusals: list[dict[str, Any]]
    hold: str | None
    """Reserved while it is open: dollars of a buy, shares of a sale."""
    estimated_cost: str | None
    """Its amount; else of its quantity at its limit or the reference price, null without either. Of a sale negative."""


async def preview_order(pool: Pool, procedure: Procedure, caller: Caller, raw: bytes) -> Answer:
    """200 with the verdict. Raises Problem for what is no order, 404, 421 and 503; DatabaseFailure."""
    terms = parse_order(raw)
    command = place_command(terms, caller, f"preview-{uuid4()}")
    # It writes nothing by itself. Rolled back all the same: an older procedure, left by a rollback of a release, would.
    rows = await rehearse(pool, procedure.sql, bind(procedure, [command], [NO_REQUEST], at=None, wait=None))
    outcome = owned(Outcome(*rows[0][1:]))
    price = terms.limit_px_micros or terms.stop_px_micros or await find_reference_price(pool, terms.symbol)
    accepted = outcome.outcome == "accepted"
    preview = Preview(
        would_accept=accepted,
        refusals=[] if accepted else [_refusal(outcome)],
        hold=_hold(terms, outcome.figures or {}) if accepted else None,
        estimated_cost=_estimated_cost(terms, price),
    )
    return Answer(200, msgspec.json.encode(preview))


def _refusal(outcome: Outcome) -> dict[str, Any]:
    problem = errors.refusal(outcome.outcome, outcome.figures)
    return {"code": problem.code, "detail": problem.detail, **problem.figures}


def _hold(terms: OrderTerms, figures: Mapping[str, Any]) -> str:
    if terms.side == "sell" and terms.order_qty_micros is not None:
        return format_micros(terms.order_qty_micros)
    return format_micros(int(figures["held"]))


def _estimated_cost(terms: OrderTerms, price_micros: int | None) -> str | None:
    value = terms.notional_micros
    if terms.order_qty_micros is not None:
        if price_micros is None:
            return None
        value = value_micros(terms.order_qty_micros, price_micros)
    assert value is not None
    return format_micros(-value if terms.side == "sell" else value)
