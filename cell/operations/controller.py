"""`/operator/v1` on the second port: what operators may see of a cell, and the little they may change."""

from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell import errors
from cell.operations import queries
from cell.paging import parse_page
from cell.plain_row import plain
from cell.trial_balance import prove_and_record, run_trial_balance
from infra.runtime.clock import Clock
from infra.runtime.database import Pool
from infra.runtime.operator_api import claims_of, fence_of, reason_of, subject_of
from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseRefused, call
from infra.runtime.strict_body import read_body, refuse_body
from infra.security.roles import Role


class ProfileRequest(msgspec.Struct, forbid_unknown_fields=True):
    profile: str


class EndSessionsRequest(msgspec.Struct, forbid_unknown_fields=True):
    begun_before_s: int


_profile_decoder = msgspec.json.Decoder(ProfileRequest)
_end_sessions_decoder = msgspec.json.Decoder(EndSessionsRequest)
_REPORT_ID_MAX: Final = 2**63 - 1
"""Of a bigint column: a larger number names no report."""
_SECONDS_MAX: Final = 32_503_680_000  # the year 3000: beyond it is a mistake, and soon no time at all


class OperatorReads(Controller):
    path = "/operator/v1"

    @get("/summary")
    async def summary(self, pool: NamedDependency[Pool], cell_name: NamedDependency[str]) -> dict[str, Any]:
        row = await queries.read_one(pool, queries.SUMMARY)
        assert row is not None
        row["cash_micros"], row["cash_held_micros"] = int(row["cash_micros"]), int(row["cash_held_micros"])
        return {"cell": cell_name, **plain(row)}

    @post("/checks", status_code=200)
    async def checks(
        self, request: Request[Any, Any, Any], checks_pool: NamedDependency[Pool], cell_name: NamedDependency[str]
    ) -> dict[str, Any]:
        """Run every check. What an operator's run found is kept for the metrics and their alerts; a viewer's leaves
        nothing: it is no proof that the nightly runs happen."""
        await refuse_body(request)
        prove = prove_and_record if claims_of(request).role.may(Role.OPERATOR) else run_trial_balance
        async with checks_pool.connection() as connection:
            result = await prove(connection)
        return {"cell": cell_name, "healthy": result.healthy, **msgspec.to_builtins(result)}

    @get("/users/{user_id:uuid}")
    async def user(self, user_id: FromPath[UUID], pool: NamedDependency[Pool]) -> dict[str, Any]:
        """Raises 404 USER_NOT_FOUND."""
        row = await queries.read_one(pool, queries.USER, [user_id])
        if row is None:
            raise errors.user_not_found()
        return plain(row)

    @get("/quarantine")
    async def quarantine(
        self, pool: NamedDependency[Pool], limit: FromQuery[str | None] = None, page_token: FromQuery[str | None] = None
    ) -> dict[str, Any]:
        """Reports that nobody but a person can judge."""
        return await _report_page(pool, queries.QUARANTINE, limit, page_token)

    @get("/early-reports")
    async def early_reports(
        self, pool: NamedDependency[Pool], limit: FromQuery[str | None] = None, page_token: FromQuery[str | None] = None
    ) -> dict[str, Any]:
        """Reports that wait, each says for what: an execution, or room in its order; and until when."""
        return await _report_page(pool, queries.EARLY_REPORTS, limit, page_token)


class LeaderController(Controller):
    path = "/operator/v1/leader"

    @post("/", status_code=200)
    async def announce(self, request: Request[Any, Any, Any], cell_name: NamedDependency[str]) -> dict[str, Any]:
        """Who leads the control plane now says so before it goes on with an operation: the guard has kept the number
        (`fence.py`), and from here on this cell refuses every lower one. Raises 422 for a token without a number."""
        await refuse_body(request)
        number = fence_of(request)
        if number is None:
            raise errors.invalid_field(422, "fence", "only a step of an operation has the number of a lease")
        return {"cell": cell_name, "leader": number}


class OperatorChanges(Controller):
    path = "/operator/v1"

    @put("/users/{user_id:uuid}/profile")
    async def set_profile(
        self, request: Request[Any, Any, Any], user_id: FromPath[UUID], pool: NamedDependency[Pool]
    ) -> dict[str, Any]:
        """Which risk profile checks the user's orders. Raises 422, or why the user is not this cell's: 404, 421,
        503."""
        body = await read_body(_profile_decoder, request)
        if body.profile not in {"retail", "professional"}:
            raise errors.invalid_field(422, "profile", "retail or professional")
        row = await queries.read_one(
            pool, queries.SET_PROFILE, [user_id, body.profile, subject_of(request), reason_of(request)]
        )
        if row is None or not row["set_profile_v1"]:
            raise await _why_not(pool, user_id)
        return {"user_id": str(user_id), "profile": body.profile}

    @post("/users/{user_id:uuid}/sessions/end", status_code=200)
    async def end_sessions(
        self,
        request: Request[Any, Any, Any],
        user_id: FromPath[UUID],
        pool: NamedDependency[Pool],
        clock: NamedDependency[Clock],
    ) -> dict[str, Any]:
        """Refresh tokens of sessions begun before that second stop working; who has the password may log in again.
        Raises 422, or why the user is not this cell's: 404, 421, 503."""
        body = await read_body(_end_sessions_decoder, request)
        if not 0 < body.begun_before_s < _SECONDS_MAX:
            raise errors.invalid_field(422, "begun_before_s", "seconds since 1970")
        begun_before = datetime.fromtimestamp(body.begun_before_s, UTC)
        try:
            values = [user_id, begun_before, clock.now(), subject_of(request), reason_of(request)]
            [(ended,)] = await call(pool, queries.END_SESSIONS, values)
        except DatabaseRefused as error:
            raise await _why_not(pool, user_id) from error
        if ended is None:
            raise errors.user_not_found()
        return {"user_id": str(user_id), "begun_before_s": body.begun_before_s, "ended": ended}

    @post("/users/{user_id:uuid}/unrestrict", status_code=200)
    async def lift_restriction(
        self,
        request: Request[Any, Any, Any],
        user_id: FromPath[UUID],
        pool: NamedDependency[Pool],
    ) -> dict[str, Any]:
        """Let a restricted user trade again; refused while the account owes anything. Harmless to repeat. Raises 409
        STILL_OWED, or why the user is not this cell's: 404, 421, 503."""
        await refuse_body(request)
        row = await queries.read_one(pool, queries.LIFT_RESTRICTION, [user_id, subject_of(request), reason_of(request)])
        assert row is not None
        outcome, figures = row["outcome"], row["figures"] or {}
        problem = errors.not_owned(outcome, figures)
        if problem is not None:
            raise problem
        if outcome == "STILL_OWED":
            raise errors.still_owed(figures["cash"], figures["shares"])
        return {"user_id": str(user_id), "restricted": False, "lifted": outcome == "lifted"}

    @post("/quarantine/{report_id:int}/retry", status_code=200)
    async def retry_report(
        self,
        request: Request[Any, Any, Any],
        report_id: FromPath[int],
        pool: NamedDependency[Pool],
        clock: NamedDependency[Clock],
    ) -> dict[str, Any]:
        """Have a quarantined report judged again. It leaves the quarantine, so it is never retried twice. Raises 404
        REPORT_NOT_FOUND."""
        await refuse_body(request)
        row = None
        if 0 < report_id <= _REPORT_ID_MAX:
            row = await queries.read_one(
                pool, queries.RETRY_REPORT, [report_id, subject_of(request), reason_of(request), clock.now()]
            )
        if row is None:
            raise errors.report_not_found()
        return {"report_id": report_id, **plain(row)}


async def _report_page(pool: Pool, sql: LiteralString, limit: str | None, page_token: str | None) -> dict[str, Any]:
    page = parse_page(limit, page_token, "asc")
    rows = await queries.read_all(pool, sql, [page.after_number() or 0, page.rows_to_read])
    shown, token = page.cut(rows, itemgetter("id"))
    return {"items": [plain(row) for row in shown], "next_page_token": token}


async def _why_not(pool: Pool, user_id: UUID) -> Problem:
    """Nothing was written because the user is not this cell's at the moment."""
    user = await queries.read_one(pool, queries.USER, [user_id])
    if user is None:
        return errors.user_not_found()
    if user["owner_state"] in ("departed", "arriving"):
        return errors.misdirected(user["forward_cell"], user["forward_epoch"])
    return errors.user_halted(user["lease_ends_at"])
