"""The second port: liveness, readiness, metrics, and whatever else operators may ask of a process.

`/health/*` and `/metrics` need no token; every other endpoint wants an operator token of at least the role that the
process's table names for it (`least_roles.py`). A call that may change something is a line of the log with the token's
id, which the record of acts has too. Customers never reach this port. A process without a customer port (worker, relay)
runs the same small server in its own loop.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, Response, get
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ControllerRouterHandler

from infra.runtime.build import build_id
from infra.runtime.event_loop_lag import measured_lag
from infra.runtime.http_port import HttpPort
from infra.runtime.least_roles import OPEN, LeastRoles, check_named, endpoint_of
from infra.runtime.methods import WithMethods
from infra.runtime.plain_requests import PlainRequests
from infra.runtime.problem import Problem, to_response
from infra.runtime.request_id import WithRequestId
from infra.runtime.settings import ListenSettings
from infra.runtime.telemetry import EVENT_LOOP_LAG, Metrics
from infra.security.keys import OPERATOR_VERIFY_FILE, KeySource, VerifyRing, follow_verify_ring, key_ids
from infra.security.operator_token import OperatorClaims, OperatorTokenInvalid, verify_operator_token
from infra.security.request_name import request_name
from infra.security.roles import Role

Readiness = Callable[[], Awaitable[tuple[bool, Mapping[str, object]]]]
"""Asked at each `/health/ready`: is this process able to do its work, and the facts that say why."""

_log = logging.getLogger(__name__)
_CLAIMS = "operator"


@dataclass(frozen=True, slots=True)
class Operators:
    """Whose tokens are taken at an operator port, and what each of its endpoints wants."""

    place: str
    """Where this port is, as tokens name it: the cell, or `exchange`."""
    ring: KeySource[VerifyRing]
    roles: LeastRoles
    now: Callable[[], float]
    """Seconds since 1970."""
    self_proving: frozenset[str] = frozenset()
    """Endpoints that take no token: what is sent to them is signed by whoever may say it."""


def load_operator_ring(keys_dir: Path) -> KeySource[VerifyRing]:
    """The keys that operator tokens are checked with, for a process that otherwise knows no keys."""
    return follow_verify_ring(keys_dir / OPERATOR_VERIFY_FILE)


def operator_keys(ring: KeySource[VerifyRing]) -> dict[str, list[str]]:
    """Which of them such a process holds, for its readiness: who rotates keys asks."""
    return key_ids({OPERATOR_VERIFY_FILE: ring})


def _guard(
    operators: Operators | None,
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """A Litestar guard of a whole application: an unexpired operator token of at least the endpoint's role, and for
    this very request where more than looking is wanted. Raises Problem."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        endpoint = endpoint_of(connection)
        if endpoint is None or endpoint in OPEN or (operators and endpoint in operators.self_proving):
            return
        assert operators is not None, "an application without operators has open endpoints only"
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "TOKEN_INVALID", "this endpoint needs an operator token")
        try:
            claims = verify_operator_token(operators.ring, token, int(operators.now()))
        except OperatorTokenInvalid as error:
            raise Problem(401, "TOKEN_INVALID", str(error)) from error
        least = operators.roles[endpoint]
        if least is not Role.VIEWER:  # a walk looks ten thousand times, and changes nothing
            told = {"token_id": claims.token_id, "subject": claims.subject, "role": claims.role, "fence": claims.fence}
            _log.info("operator call", extra={"endpoint": endpoint, **told})
        if not claims.role.may(least):
            raise Problem(403, "FORBIDDEN", f"needs the role {least}, the token has {claims.role}")
        asked = request_name(operators.place, connection.scope["method"], connection.scope["path"])  # type: ignore[typeddict-item]
        if claims.request is None and least is not Role.VIEWER:
            raise Problem(403, "FORBIDDEN", f"needs a token for {asked}, and this one is for looking")
        if claims.request is not None and claims.request != asked:
            raise Problem(403, "FORBIDDEN", f"the token is for {claims.request}, and this is {asked}")
        connection.state[_CLAIMS] = claims

    return guard


def claims_of(connection: ASGIConnection[Any, Any, Any, Any]) -> OperatorClaims:
    """What the token says that the guard let through."""
    claims = connection.state[_CLAIMS]
    assert isinstance(claims, OperatorClaims)
    return claims


def subject_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Who asks, by the token that the guard let through; it is recorded with what they change."""
    return claims_of(connection).subject


def reason_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Why, in the person's own words, as the token says; it is recorded with what they change. Raises Problem 400."""
    why = claims_of(connection).why
    if why is None:
        raise Problem(400, "REASON_MISSING", "this changes something, and the operator token says no reason")
    return why


def fence_of(connection: ASGIConnection[Any, Any, Any, Any]) -> int | None:
    """The lease's number that the token carries, if a step of an operation asks; None for a person, and for who asks
    without a token for the methods of a path."""
    return claims_of(connection).fence if _CLAIMS in connection.state else None


def create_operator_app(
    *,
    metrics: Metrics,
    ready: Readiness,
    routes: Sequence[ControllerRouterHandler] = (),
    operators: Operators | None = None,
) -> Litestar:
    """Health and metrics, plus the process's own routes, for `operators`. While it is served, the lag of its loop is
    measured: it is the loop that the process works in. Raises EndpointsUnnamed."""

    @get("/health/live", sync_to_thread=False)
    def live() -> dict[str, str]:
        return {"status": "live"}

    @get("/health/ready")
    async def readiness() -> Response[dict[str, object]]:
        is_ready, facts = await ready()
        document = {"status": "ready" if is_ready else "not ready", "release": build_id(), **facts}
        return Response(document, status_code=200 if is_ready else 503)

    @get("/metrics", sync_to_thread=False)
    def render_metrics() -> Response[bytes]:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app = Litestar(
        route_handlers=[live, readiness, render_metrics, *routes],
        guards=[_guard(operators)],
        middleware=[PlainRequests],
        exception_handlers={Exception: to_response},
        lifespan=[lambda _: measured_lag(metrics.histogram(EVENT_LOOP_LAG))],
        openapi_config=None,
        logging_config=None,
    )
    without_token = OPEN | operators.self_proving if operators else OPEN
    check_named(app, operators.roles if operators else {}, open_ones=without_token)
    return app


def _make_server(app: Any, **options: Any) -> uvicorn.Server:
    """A uvicorn server that leaves signals and logging to the process. WebSockets are none of uvicorn's business: it
    would take one for itself and leave no request to answer. A Litestar application is an operator port: it gets its
    methods and request ids here; the customers' ports bring their own."""
    options = {"http": HttpPort, **options}
    config = uvicorn.Config(
        WithRequestId(WithMethods(app)) if isinstance(app, Litestar) else app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="on",
        ws="none",
        **options,
    )
    return uvicorn.Server(config)


@asynccontextmanager
async def serving(app: Any, listen: ListenSettings, **options: Any) -> AsyncIterator[None]:
    """Serve `app` in this loop while the block runs; in-flight requests finish before it ends."""
    server = _make_server(app, host=listen.host, port=listen.port, backlog=listen.backlog, **options)
    async with _running(server, f"{listen.host}:{listen.port}"):
        yield


@asynccontextmanager
async def serving_on(app: Any, listener: socket.socket, **options: Any) -> AsyncIterator[None]:
    """`serving`, on a socket that listens already; it is closed at the end."""
    async with _running(_make_server(app, **options), str(listener.getsockname()), [listener]):
        yield


@asynccontextmanager
async def _running(
    server: uvicorn.Server, where: str, sockets: list[socket.socket] | None = None
) -> AsyncIterator[None]:
    # `_serve` is `serve` without signal capture, which belongs to `Shutdown`.
    task = asyncio.create_task(server._serve(sockets), name=f"serve:{where}")
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it, only a flag
        await asyncio.sleep(0.01)
    if task.done():
        await task
        raise RuntimeError(f"could not listen on {where}; is the port taken?")
    try:
        yield
    finally:
        server.should_exit = True
        await task
