"""`POST /operator/v1/archive`: one bounded piece of a walk over all users."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, post
from litestar.di import NamedDependency

from cell.archive.queries import record_archiving
from cell.archive.sweep import Place, archive
from cell.caller import format_time
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.operator_api import reason_of, subject_of
from infra.runtime.strict_body import read_body

OLDER_THAN_DAYS_MIN = 7
"""A venue's busts and corrections come within days; an order that one speaks of has to be brought back."""
CALL_S = 2.0
"""Far below what an operator's client waits for; the caller goes on from the answer."""


class ArchiveRequest(msgspec.Struct, forbid_unknown_fields=True):
    older_than_days: Annotated[int, msgspec.Meta(ge=OLDER_THAN_DAYS_MIN, le=36_500)]
    place: Place = Place()


_decoder = msgspec.json.Decoder(ArchiveRequest)


class ArchiveController(Controller):
    path = "/operator/v1/archive"

    @post("/", status_code=200)
    async def archive(
        self, request: Request[Any, Any, Any], pool: NamedDependency[Pool], clock: NamedDependency[Clock]
    ) -> dict[str, Any]:
        """Archive for two seconds; `place` of the answer, sent again, goes on there. None: the walk is done.

        Each call leaves its record, since any place may be named first.
        """
        body = await read_body(_decoder, request)
        before = clock.now() - timedelta(days=body.older_than_days)
        await record_archiving(
            pool,
            actor=subject_of(request),
            reason=reason_of(request),
            before=before,
            place=msgspec.to_builtins(body.place),
        )
        done = await archive(
            pool, before=before, place=body.place, until_s=clock.monotonic() + CALL_S, monotonic=clock.monotonic
        )
        shown: dict[str, Any] = msgspec.to_builtins(done)
        return {"before": format_time(before), **shown}
