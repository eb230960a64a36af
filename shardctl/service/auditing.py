"""Every request that may change something is a row of the audit chain before it is done, and its outcome is another.

It stands around all routes, so whoever adds an endpoint cannot forget it: one that may change something and does not
say how its attempt is described (`attempt` in the handler's `opt`) keeps the service from starting. What is refused is
recorded too: no right to it, a conflict, a stale plan. What cannot be recorded is not done (503). A crash between the
two rows leaves an attempt without an outcome; nobody invents one later.
Who is not known to us is counted and not recorded (`identity.py`): strangers cannot make the chain grow.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute

from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseFailure
from infra.runtime.telemetry import Metrics
from shardctl.audit.attempts import Describe
from shardctl.audit.queries import Audit, Who
from shardctl.errors import Exit, NotReachable
from shardctl.service.identity import person_of

_log = logging.getLogger(__name__)
DESCRIBE: Final = "attempt"
"""Name in a handler's `opt`: the function that describes an attempt."""
_STATE: Final = "attempt"
_DONE: Final = "done"
_REFUSED: Final = "refused"
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class EndpointNotDescribed(Exception):
    """An endpoint may change something, and does not say how an attempt is recorded."""


@dataclass(slots=True)
class OpenAttempt:
    """The attempt that a handler carries out. It says what only it knows."""

    number: int
    goes_on: bool = False
    """Its outcome is an operation's end, and comes then."""
    detail: str | None = None
    """A word on what was done."""


def attempt_of(connection: ASGIConnection[Any, Any, Any, Any]) -> OpenAttempt:
    """The one that this request is."""
    found = connection.scope["state"][_STATE]
    assert isinstance(found, OpenAttempt), "what may change something has been recorded"
    return found


def check_described(app: Litestar) -> None:
    """Raises EndpointNotDescribed."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if method not in _READS and not callable(handler.opt.get(DESCRIBE)):
                    raise EndpointNotDescribed(f"{method} {route.path}: give its handler opt={{{DESCRIBE!r}: ...}}")


class AuditedRequests:
    """Litestar's middleware around all that another one or a handler may refuse."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], audit: Audit, metrics: Metrics) -> None:
        self._app = app
        self._audit = audit
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        request: Request[Any, Any, Any] = Request(scope, receive)
        fields, refusal = await _fields(request)
        attempt = scope["state"][_STATE] = OpenAttempt(await self._begin(request, fields))
        if refusal is not None:
            # What was read of the body is gone. A handler would take the rest for all of it: an act nobody described.
            await self._end(attempt, outcome_of_status(refusal.status_code), refusal.detail)
            raise refusal
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.hold)
        except Exception as error:
            # A refusal of a middleware inside of this one: what answers it stands outside.
            await self._end(attempt, outcome_of_status(_status_of(error)), str(error))
            raise
        await self._end(attempt, answer.outcome, answer.detail)
        await answer.release()

    async def _begin(self, request: Request[Any, Any, Any], fields: dict[str, Any]) -> int:
        describe: Describe = request.route_handler.opt[DESCRIBE]
        described = describe(request.path_params, fields)
        person = person_of(request)
        who = Who(person.subject, person.role, person.way)
        try:
            return await self._audit.begin(
                who, described.act, described.target, reason=described.reason, arguments=described.arguments
            )
        except DatabaseFailure as error:
            self._count("not_recorded")
            raise NotReachable(
                f"the control database does not answer, and what is not recorded is not done: {error}"
            ) from error

    async def _end(self, attempt: OpenAttempt, outcome: str, detail: str | None) -> None:
        if outcome == _DONE and attempt.goes_on:
            self._count("goes_on")
            return
        # A refusal is certain. A fault may have been met behind the commit of an operation, which then has the word.
        end = self._audit.end if outcome in (_DONE, _REFUSED) else self._audit.end_request
        self._count(outcome)
        try:
            await end(attempt.number, outcome, detail or attempt.detail)
        except DatabaseFailure as error:
            _log.warning("an outcome was not recorded", exc_info=error, extra={"row": attempt.number, "is": outcome})

    def _count(self, outcome: str) -> None:
        self._metrics.counter("shardctl_audited_requests_total").labels(outcome).inc()


class _Answer:
    """Held back until its outcome is recorded: whoever reads "done" finds it in the chain. It is one small document."""

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self._send = send
        self._held: list[Any] = []

    async def hold(self, message: Any) -> None:
        self._held.append(message)

    async def release(self) -> None:
        for message in self._held:
            await self._send(message)

    @property
    def outcome(self) -> str:
        """What was stopped half way says so by its exit code."""
        status = next((message["status"] for message in self._held if message["type"] == "http.response.start"), 500)
        if status >= 400 and self._problem().get("exit_code") == Exit.INTERRUPTED:
            return "interrupted"
        return outcome_of_status(status)

    @property
    def detail(self) -> str | None:
        """Of what was not done, or not wholly."""
        return None if self.outcome == _DONE else str(self._problem().get("detail") or "") or None

    def _problem(self) -> dict[str, Any]:
        return _object(b"".join(message.get("body", b"") for message in self._held))


def outcome_of_status(status: int) -> str:
    """Pure."""
    return _DONE if status < 400 else _REFUSED if status < 500 else "failed"


def _status_of(error: Exception) -> int:
    if isinstance(error, Problem):
        return error.status
    return error.status_code if isinstance(error, HTTPException) else 500


async def _fields(request: Request[Any, Any, Any]) -> tuple[dict[str, Any], HTTPException | None]:
    """Of the body; none, if it is no object: the handler reads the same bytes, and refuses them. Beside them the
    refusal of a body that cannot be read whole, because it is too long or broken off."""
    try:
        return _object(await request.body()), None
    except HTTPException as error:
        return {}, error


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
