"""`/v1` on the service's socket: operations, as commands ask for them. A refusal says the exit code that it means."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseFailure
from infra.runtime.strict_body import read_body
from shardctl.audit.attempts import of_act, of_submission
from shardctl.audit.limits import PAGE_ROWS
from shardctl.audit.queries import Audit, Wanted
from shardctl.errors import Exit, NotAllowed, NotReachable, ShardctlError
from shardctl.failures import describe_failure
from shardctl.operations.plan import Plan
from shardctl.operations.queries import Changed, Operations
from shardctl.service.auditing import DESCRIBE, OpenAttempt, attempt_of
from shardctl.service.identity import person_of
from shardctl.service.queries import ControlState, DueRow
from shardctl.service.schedules import SCHEDULES, Schedule
from shardctl.service.submissions import Proposal, Submissions

_STATUS: Final[Mapping[Exit, int]] = {
    Exit.FAILED: 422, Exit.USAGE: 400, Exit.NOT_REACHABLE: 503, Exit.INTERRUPTED: 503, Exit.BLOCKED: 409,
}  # fmt: skip
"""HTTP status by the exit code that a refusal means."""


_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for an operation. `dry_run`: show the plan, do nothing. `expected`: the hash a plan was shown with."""

    kind: str
    arguments: dict[str, Any] = {}
    reason: str | None = None
    idempotency_key: str | None = None
    expected: str | None = None
    dry_run: bool = False


class Reasoned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str | None = None


_ONE: Final = "operation {number}"
"""An operation as the target of an act."""
_submission_decoder = msgspec.json.Decoder(Submission)
_reason_decoder = msgspec.json.Decoder(Reasoned)


class OperationsController(Controller):
    path = "/v1/operations"

    @post("/", status_code=200, opt={DESCRIBE: of_submission})
    async def submit(
        self, request: Request[Any, Any, Any], submissions: NamedDependency[Submissions]
    ) -> dict[str, Any]:
        body = await read_body(_submission_decoder, request)
        person, attempt = person_of(request), attempt_of(request)
        proposal = await submissions.propose(body.kind, body.arguments, person=person, reason=body.reason)
        if body.dry_run:
            attempt.detail = "dry run"
            preview = await submissions.preview(proposal, person=person, reason=body.reason)
            return {"operation_id": None, **_shown(proposal), "preview": preview}
        number, is_new = await submissions.begin(
            proposal,
            attempt=attempt.number,
            person=person,
            reason=body.reason,
            key=body.idempotency_key,
            expected=body.expected,
        )
        attempt.goes_on, attempt.detail = is_new, f"it is operation {number} already"
        return {"operation_id": number, "is_new": is_new, **_shown(proposal)}

    @get("/")
    async def listed(
        self,
        operations: NamedDependency[Operations],
        limit: FromQuery[int] = 20,
        active: FromQuery[bool] = False,
        kind: FromQuery[str | None] = None,
    ) -> dict[str, Any]:
        found = await operations.newest(limit, active=active, kind=kind)
        return {"items": [msgspec.to_builtins(row) for row in found]}

    @get("/{number:int}")
    async def one(self, number: FromPath[int], operations: NamedDependency[Operations]) -> dict[str, Any]:
        operation = await operations.read(number)
        steps = await operations.steps(number)
        return {**msgspec.to_builtins(operation), "steps": [msgspec.to_builtins(step) for step in steps]}

    @get("/{number:int}/events")
    async def events(
        self, number: FromPath[int], operations: NamedDependency[Operations], after: FromQuery[int] = 0
    ) -> dict[str, Any]:
        """What happened since the event `after`; the operation is read first, so its end has all its events."""
        operation = await operations.read(number)
        found = await operations.events(number, after)
        return {**msgspec.to_builtins(operation), "events": [msgspec.to_builtins(event) for event in found]}

    @post("/{number:int}/cancel", status_code=200, opt={DESCRIBE: of_act("operations.cancel", _ONE)})
    async def cancel(
        self, request: Request[Any, Any, Any], number: FromPath[int], submissions: NamedDependency[Submissions]
    ) -> dict[str, Any]:
        body, attempt = await read_body(_reason_decoder, request), attempt_of(request)
        person = person_of(request)
        changed = await submissions.cancel(number, attempt=attempt.number, person=person, reason=body.reason)
        return _changed(number, changed, attempt)

    @post("/{number:int}/resume", status_code=200, opt={DESCRIBE: of_act("operations.resume", _ONE)})
    async def resume(
        self, request: Request[Any, Any, Any], number: FromPath[int], submissions: NamedDependency[Submissions]
    ) -> dict[str, Any]:
        body, attempt = await read_body(_reason_decoder, request), attempt_of(request)
        person = person_of(request)
        changed = await submissions.resume(number, attempt=attempt.number, person=person, reason=body.reason)
        return _changed(number, changed, attempt)

    @post("/{number:int}/approve", status_code=200, opt={DESCRIBE: of_act("operations.approve", _ONE)})
    async def approve(
        self, request: Request[Any, Any, Any], number: FromPath[int], submissions: NamedDependency[Submissions]
    ) -> dict[str, Any]:
        body = await read_body(_reason_decoder, request)
        state = await submissions.approve(number, person=person_of(request), reason=body.reason)
        return {"operation_id": number, "state": state}


class PersonsController(Controller):
    path = "/v1/whoami"

    @get("/", sync_to_thread=False)
    def whoami(self, request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Who asks, as it would be recorded."""
        return asdict(person_of(request))


class AuditController(Controller):
    """Reads only: nothing is appended by asking."""

    path = "/v1/audit"

    @get("/")
    async def listed(
        self,
        audit: NamedDependency[Audit],
        since: FromQuery[datetime | None] = None,
        until: FromQuery[datetime | None] = None,
        actor: FromQuery[str | None] = None,
        act: FromQuery[str | None] = None,
        target: FromQuery[str | None] = None,
        limit: FromQuery[int] = 20,
    ) -> dict[str, Any]:
        """Attempts with their outcome, newest first."""
        found = await audit.newest(Wanted(since, until, actor, act, target, limit))
        return {"items": [msgspec.to_builtins(attempt) for attempt in found]}

    @get("/rows")
    async def rows(
        self,
        audit: NamedDependency[Audit],
        after: FromQuery[int] = 0,
        since: FromQuery[datetime | None] = None,
        limit: FromQuery[int] = PAGE_ROWS,
    ) -> dict[str, Any]:
        """The chain, row by row in its order, as it is hashed; `since`: from the first row of that time or later."""
        start = after if since is None else max(after, await audit.before(since))
        return {"items": [msgspec.to_builtins(row) for row in await audit.rows(start, limit)]}

    @get("/head")
    async def head(self, audit: NamedDependency[Audit]) -> dict[str, Any]:
        """The last row, and what time it is by the control database."""
        found = await audit.head()
        return {"number": found.number, "hash": found.hash, "at": found.at}


class SchedulesController(Controller):
    path = "/v1/schedules"

    @get("/")
    async def listed(self, control_state: NamedDependency[ControlState]) -> dict[str, Any]:
        """Each schedule: what it begins and when; how it went the last time is its operation's to say."""
        rows = await control_state.schedules()
        return {"items": [_schedule(schedule, rows.get(schedule.name)) for schedule in SCHEDULES]}


def _changed(number: int, changed: Changed, attempt: OpenAttempt) -> dict[str, Any]:
    attempt.goes_on = changed.goes_on
    return {"operation_id": number, "state": changed.state}


def _schedule(schedule: Schedule, row: DueRow | None) -> dict[str, Any]:
    days = "every day" if schedule.weekday is None else f"every {_WEEKDAYS[schedule.weekday]}"
    return {
        "name": schedule.name,
        "kind": schedule.kind or schedule.name,
        "every": "every hour" if schedule.at is None else f"{days} at {schedule.at:%H:%M} UTC",
        "due_at": row and row.due_at,
        "begun_at": row and row.begun_at,
        "operation_id": row and row.operation_id,
    }


def refused(error: Exception) -> Exception:
    """What a command is told instead of an error of ours: a problem document that carries the exit code."""
    if isinstance(error, DatabaseFailure):
        error = NotReachable(f"the control database does not answer: {error}")
    if isinstance(error, NotAllowed):
        return Problem(403, "FORBIDDEN", str(error), exit_code=int(error.exit_code))
    if isinstance(error, ShardctlError):
        status = _STATUS.get(error.exit_code, _STATUS[Exit.FAILED])
        return Problem(status, type(error).__name__, str(error), exit_code=int(error.exit_code))
    if found := describe_failure(error):
        line, exit_code = found
        return Problem(_STATUS[exit_code], type(error).__name__, line, exit_code=int(exit_code))
    return error


def _shown(proposal: Proposal) -> dict[str, Any]:
    return {
        "kind": proposal.kind,
        "arguments": dict(proposal.arguments),
        "state_hash": proposal.state_hash,
        **_plan(proposal.plan),
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "target": plan.target,
        "cells": list(plan.cells),
        "steps": [{"position": position, **asdict(step)} for position, step in enumerate(plan.steps, 1)],
    }
