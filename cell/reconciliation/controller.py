"""`/operator/v1/reconcile` and `/reconciliations`: compare with the venue, prove the books, keep the result."""

from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from cell import errors
from cell.paging import parse_page
from cell.plain_row import plain
from cell.reconciliation.queries import VenueOrder, find_differences, list_event_heads, list_runs, record_run
from cell.reconciliation.verdict import EventFindings, VenueFindings, judge
from cell.trial_balance import prove_and_record
from infra.runtime.clock import Clock, TimeOrderedIds
from infra.runtime.database import Pool
from infra.runtime.operator_api import subject_of
from infra.runtime.strict_body import read_body

ORDERS_MAX = 1_000
"""Of one comparison: a page of the venue's list."""
SAMPLE_MAX = 100
"""Differences that a record keeps; their number says how far it goes."""

_FIRST_ID = UUID(int=0)
"""Before every id: pages begin behind it."""


class ListedOrder(msgspec.Struct, forbid_unknown_fields=True):
    """One order as the venue's list has it."""

    order_id: UUID
    session: str
    open: bool
    cum_qty: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    cum_cost: Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,40}$")] | None
    executions: Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class Comparison(msgspec.Struct, forbid_unknown_fields=True):
    """A page of the venue's list; our orders beyond `after` and up to `until` belong to it, too."""

    orders: Annotated[list[ListedOrder], msgspec.Meta(max_length=ORDERS_MAX)]
    after: UUID | None = None
    until: UUID | None = None


class Run(msgspec.Struct, forbid_unknown_fields=True):
    """What was found elsewhere since `started_at`."""

    started_at: datetime
    venue: VenueFindings
    events: EventFindings


_comparison_decoder = msgspec.json.Decoder(Comparison)
_run_decoder = msgspec.json.Decoder(Run)


class ReconciliationReads(Controller):
    path = "/operator/v1/reconciliations"

    @get("/")
    async def runs(
        self, pool: NamedDependency[Pool], limit: FromQuery[str | None] = None, page_token: FromQuery[str | None] = None
    ) -> dict[str, Any]:
        """Newest first."""
        page = parse_page(limit, page_token, None)
        rows = await list_runs(pool, before=page.after_id(), limit=page.rows_to_read)
        shown, token = page.cut(rows, itemgetter("run_id"))
        return {"items": [_view(row) for row in shown], "next_page_token": token}

    @get("/event-heads")
    async def event_heads(
        self, pool: NamedDependency[Pool], limit: FromQuery[str | None] = None, page_token: FromQuery[str | None] = None
    ) -> dict[str, Any]:
        """How far each user's streams were written, and how far of that they were published for sure."""
        page = parse_page(limit, page_token, "asc")
        rows = await list_event_heads(pool, after=page.after_id(), limit=page.rows_to_read)
        shown, token = page.cut(rows, itemgetter("user_id"))
        return {"items": [plain(row) for row in shown], "next_page_token": token}

    @post("/comparisons", status_code=200)
    async def compare(
        self, request: Request[Any, Any, Any], pool: NamedDependency[Pool], cell_name: NamedDependency[str]
    ) -> dict[str, Any]:
        """What differs between the venue's page and our orders now; nothing is kept."""
        body = await read_body(_comparison_decoder, request)
        orders = [
            VenueOrder(one.order_id, one.session, one.open, one.cum_qty, one.cum_cost, one.executions)
            for one in body.orders
        ]
        until = body.until or _FIRST_ID
        found = await find_differences(
            pool, session=cell_name, orders=orders, after=body.after or _FIRST_ID, until=until
        )
        return {"compared": len(orders), "differences": [plain(row) for row in found]}


class ReconciliationRuns(Controller):
    path = "/operator/v1/reconcile"

    @post("/", status_code=201)
    async def run(
        self,
        request: Request[Any, Any, Any],
        pool: NamedDependency[Pool],
        clock: NamedDependency[Clock],
        new_id: NamedDependency[TimeOrderedIds],
    ) -> dict[str, Any]:
        """Run every check and the totals at one instant, judge them with what was found elsewhere, and keep it all.
        Raises 422 INVALID_FIELD."""
        body = await read_body(_run_decoder, request)
        began = clock.now()
        if body.started_at.tzinfo is None:
            raise errors.invalid_field(422, "started_at", "a time with its zone")
        body.venue.sample = body.venue.sample[:SAMPLE_MAX]
        body.events.sample = body.events.sample[:SAMPLE_MAX]
        async with pool.connection() as connection:
            trial = await prove_and_record(connection)
        row = {
            "run_id": new_id(),
            "started_at": min(body.started_at, began),  # two clocks
            "ended_at": clock.now(),
            "as_of": trial.as_of,
            "actor": subject_of(request),
            "verdict": judge(trial.checks, trial.totals, body.venue, body.events).value,
            "checks": msgspec.to_builtins(trial.checks),
            "totals": msgspec.to_builtins(trial.totals),
            "venue": msgspec.to_builtins(body.venue),
            "events": msgspec.to_builtins(body.events) | {"differences": body.events.differences},
        }
        await record_run(pool, **row)
        return _view(row)


def _view(row: dict[str, Any]) -> dict[str, Any]:
    return plain(row) | {"found": _found(row)}


def _found(row: dict[str, Any]) -> list[str]:
    """The names of what was not as it should be."""
    names = [check["name"] for check in row["checks"] if check["violations"]]
    names += ["venue"] if row["venue"]["differences"] else []
    # a run of an older release has no more than what was missing by count
    names += ["events"] if row["events"].get("differences", row["events"].get("missing")) else []
    return names
