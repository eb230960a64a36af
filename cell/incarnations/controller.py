"""`/operator/v1/incarnation`: was the cell restored, is it fenced, the act that opens it, and those that let users who
stayed read-only write again."""

from operator import itemgetter
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from cell import errors
from cell.incarnations.queries import halted_users, newest_incarnation, open_cell, release_user
from cell.paging import parse_page
from cell.plain_row import plain
from infra.runtime.database import Pool
from infra.runtime.operator_api import reason_of, subject_of
from infra.runtime.strict_body import read_body

HALTED_MAX: Final = 100_000
"""Users in one request, four megabytes. With more of them nothing is gained by opening the cell for the others."""
RELEASED_MAX: Final = 500
"""Users in one request: each is a short transaction of its own, together about a second."""
_VENUE: Final = "exchange"


class OpenRequest(msgspec.Struct, forbid_unknown_fields=True):
    received_seq: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    """The highest report of the venue that this cell ever acknowledged, as the venue says."""
    halted: Annotated[list[UUID], msgspec.Meta(max_length=HALTED_MAX)]
    despite_findings: bool = False


class KnownElsewhere(msgspec.Struct, forbid_unknown_fields=True):
    """The last numbers of a user's events that Kafka holds; those of the books where it holds no more."""

    user_id: UUID
    orders: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    ledger: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    write_seq: Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class ReleaseRequest(msgspec.Struct, forbid_unknown_fields=True):
    users: Annotated[list[KnownElsewhere], msgspec.Meta(min_length=1, max_length=RELEASED_MAX)]


_decoder: Final = msgspec.json.Decoder(OpenRequest)
_release_decoder: Final = msgspec.json.Decoder(ReleaseRequest)


class IncarnationReads(Controller):
    path = "/operator/v1/incarnation"

    @get("/")
    async def incarnation(self, pool: NamedDependency[Pool]) -> dict[str, Any]:
        """`fenced`, and of the newest restore who made it, from what, until when, and who opened it."""
        row = await newest_incarnation(pool)
        if row is None:
            return {"fenced": False, "incarnation": None}
        return {"fenced": row["opened_at"] is None, "incarnation": plain(row)}

    @get("/halted")
    async def halted(
        self, pool: NamedDependency[Pool], limit: FromQuery[str | None] = None, page_token: FromQuery[str | None] = None
    ) -> dict[str, Any]:
        """Users who stay read-only since the cell was opened, and how many reports wait for each."""
        page = parse_page(limit, page_token, "asc")
        rows = await halted_users(pool, after=page.after_id(), limit=page.rows_to_read)
        shown, token = page.cut(rows, itemgetter("user_id"))
        return {"items": [plain(row) for row in shown], "next_page_token": token}


class IncarnationChanges(Controller):
    path = "/operator/v1/incarnation/open"

    @post("/", status_code=200, request_max_body_size=8 * 2**20)
    async def open(
        self, request: Request[Any, Any, Any], pool: NamedDependency[Pool], cell_name: NamedDependency[str]
    ) -> dict[str, Any]:
        """Take the fence down; refused while the last reconciliation since the restore found anything, unless
        `despite_findings` is set. Raises 409 NOT_RECONCILED, FINDINGS."""
        body = await read_body(_decoder, request)
        outcome, figures = await open_cell(
            pool,
            actor=subject_of(request),
            reason=reason_of(request),
            despite=body.despite_findings,
            venue=_VENUE,
            session=cell_name,
            received_seq=body.received_seq,
            halted=body.halted,
        )
        match outcome:
            case "NOT_RECONCILED":
                raise errors.cell_not_reconciled()
            case "FINDINGS":
                raise errors.cell_differs(figures["verdict"], figures["run_id"])
        return {"opened": outcome == "opened", **figures}


class RestoredUsers(Controller):
    path = "/operator/v1/incarnation/release"

    @post("/", status_code=200)
    async def release(self, request: Request[Any, Any, Any], pool: NamedDependency[Pool]) -> dict[str, Any]:
        """Each user alone: `released`, or why not. Repeated for one who was released, `NOT_HELD`."""
        body = await read_body(_release_decoder, request)
        outcomes = {
            str(user.user_id): await release_user(
                pool,
                actor=subject_of(request),
                reason=reason_of(request),
                user=user.user_id,
                orders=user.orders,
                ledger=user.ledger,
                write_seq=user.write_seq,
            )
            for user in body.users
        }
        return {"outcomes": outcomes}
