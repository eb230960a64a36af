"""Wiring of the control service, in order: pool, operations, leader and its duties, the socket, the operator port.

Start-up waits for nothing: without its database the service answers that it is not reachable, and leads when it can.
"""

import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from infra.backends.backend import Backend
from infra.backends.backups import HasBackups
from infra.runtime.clock import SystemClock, make_clock
from infra.runtime.database import answers, make_pool
from infra.runtime.dsn import with_clock_offset, with_code
from infra.runtime.http_client import HttpClient
from infra.runtime.least_roles import check_named
from infra.runtime.methods import WithMethods
from infra.runtime.operator_api import create_operator_app, serving, serving_on
from infra.runtime.plain_requests import PlainRequests
from infra.runtime.problem import to_response
from infra.runtime.release_code import release_code
from infra.runtime.request_id import WithRequestId
from infra.runtime.settings import PostgresSettings
from infra.runtime.shutdown import Shutdown
from infra.runtime.telemetry import Metrics
from shardctl.audit.heads import publish_head
from shardctl.audit.queries import audit_of
from shardctl.operations.catalog import KINDS
from shardctl.operations.execute import Executor
from shardctl.operations.plan import Kind
from shardctl.operations.queries import Operation, Operations
from shardctl.operations.resources import StackResources
from shardctl.persons import Person
from shardctl.release import own_release
from shardctl.service.acting import Acting
from shardctl.service.archiving import Archiving
from shardctl.service.auditing import AuditedRequests, check_described
from shardctl.service.controller import (
    AuditController,
    OperationsController,
    PersonsController,
    SchedulesController,
    refused,
)
from shardctl.service.controllers.shard_map import CellsController, MapController
from shardctl.service.controllers.users import UsersController
from shardctl.service.executing import Executing
from shardctl.service.identity import IdentifiedRequests, Identify, PeerPort, let_in, person_on_socket
from shardctl.service.issuer_keys import IssuerKeys
from shardctl.service.leader import Leader
from shardctl.service.metrics import METRICS
from shardctl.service.oidc import OidcPersons, fetched_by
from shardctl.service.persons_port import PersonsPort
from shardctl.service.queries import ControlState
from shardctl.service.roles import LEAST_ROLES
from shardctl.service.sampling import Sampling
from shardctl.service.schedules import BACKUP_KINDS, Schedules
from shardctl.service.settings import ControlSettings
from shardctl.service.submissions import Submissions
from shardctl.service.tokens import TokensController
from shardctl.service.told_release import AsgiApp, telling_release
from shardctl.service.watches import Watches
from shardctl.stack.broker import kafka_of
from shardctl.token_signing import TokenSigner

_PERSONS_AT_ONCE: Final = 100
"""Connections and requests at the port for persons elsewhere: people and their dashboards."""
_log = logging.getLogger(__name__)
_BODY_BYTES_MAX: Final = 1_048_576
"""Of a request for an operation: arguments are a few names."""


class ControlService:
    """The parts of one process."""

    def __init__(
        self, settings: ControlSettings, backend: Backend, kinds: Mapping[str, Kind[StackResources]] = KINDS
    ) -> None:
        self.settings = settings
        self._kinds = kinds
        self._backend = backend
        self._clock = make_clock(settings.clock.offset_s)
        self._started_at = self._clock.now().isoformat(timespec="milliseconds")
        code = release_code("shardctl").schema
        self._dsn = with_clock_offset(with_code(settings.dsn, code, settings.name), settings.clock.offset_s)
        self.metrics = Metrics(METRICS)
        self.pool = make_pool(
            PostgresSettings(
                dsn=settings.dsn, code=code, pool_max=settings.pool_max, clock_offset_s=settings.clock.offset_s
            ),
            settings.name,
        )
        self.operations = Operations(self.pool)
        self.state = ControlState(self.pool)
        self.audit = audit_of(self.pool)
        self.executing = Executing(
            self.operations,
            self._make_executor,
            self.metrics,
            at_once=settings.operations_at_once,
            poll_s=settings.poll_s,
        )
        self.acting = Acting(self._open_unfenced)
        self.submissions = Submissions(
            self.operations,
            kinds,
            self._open_unfenced,
            approvals=settings.approvals,
            wake=self.executing.wake,
        )
        self.leader = Leader(
            self.operations,
            (
                self.executing,
                Schedules(
                    self.state,
                    self.submissions,
                    {"audit_head": self.publish_audit_head},
                    self.metrics,
                    without=frozenset() if isinstance(backend, HasBackups) else BACKUP_KINDS,
                ),
                Sampling(self.state, backend, self.metrics),
                Watches(self.state, backend, self._dsn, self.metrics),
                Archiving(self.submissions, backend),
            ),
            holder=f"{settings.name} pid {os.getpid()}",
            life_s=settings.lease_life_s,
            renewed_each_s=settings.lease_renewed_each_s,
            on_change=self._lead_changed,
        )

    def _open_resources(
        self, lease: int | None, actor: str, reason: str | None, operation: int | None = None
    ) -> StackResources:
        return StackResources(self._backend, self._clock, self._dsn, lease, actor, reason, operation)

    def _open_unfenced(self, actor: str, reason: str | None) -> StackResources:
        """For a person: what they see, and what they do at once."""
        return self._open_resources(None, actor, reason)

    def _make_executor(self, lease: int) -> Executor[StackResources]:
        def open_resources(operation: Operation) -> StackResources:
            return self._open_resources(lease, operation.asked_by, operation.because, operation.operation_id)

        return Executor(
            self.operations, self._kinds, lease, open_resources=open_resources, announce=self._announcer(lease)
        )

    def _announcer(self, lease: int) -> Callable[[Operation], Awaitable[None]]:
        async def announce(operation: Operation) -> None:
            """Raises NotReachable: an operation waits for each of its cells."""
            async with self._open_resources(lease, operation.asked_by, operation.because).cells() as admin:
                for cell in operation.calls:
                    await admin.call(cell, "POST", "/operator/v1/leader")

        return announce

    def _lead_changed(self, lease: int | None) -> None:
        self.metrics.gauge("shardctl_leading").set(0 if lease is None else 1)
        if lease is None:
            self.metrics.counter("shardctl_leases_ended_total").inc()
        else:
            self.metrics.gauge("shardctl_lease_number").set(lease)

    async def publish_audit_head(self) -> None:
        """Raises NotReachable, a DatabaseFailure."""
        head = await self.audit.head()
        await publish_head(kafka_of(self._backend), self._backend.stack, head)
        self.metrics.gauge("shardctl_audit_head_published").set(head.number)

    async def ready(self) -> tuple[bool, dict[str, object]]:
        """Able to take requests; whether it leads, and under which number."""
        return await answers(self.pool), {
            "leads": self.leader.lease is not None,
            "lease": self.leader.lease,
            "started_at": self._started_at,
        }

    def create_app(self, identify: Identify) -> Litestar:
        """What commands ask, at a port where `identify` says who they are."""

        def respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
            return to_response(request, refused(error))

        app = Litestar(
            route_handlers=[
                AuditController,
                CellsController,
                MapController,
                OperationsController,
                PersonsController,
                SchedulesController,
                TokensController,
                UsersController,
            ],
            guards=[let_in],
            dependencies={
                "acting": Provide(lambda: self.acting, sync_to_thread=False),
                "operations": Provide(lambda: self.operations, sync_to_thread=False),
                "control_state": Provide(lambda: self.state, sync_to_thread=False),
                "signer": Provide(lambda: TokenSigner(self._backend), sync_to_thread=False),
                "submissions": Provide(lambda: self.submissions, sync_to_thread=False),
                "audit": Provide(lambda: self.audit, sync_to_thread=False),
            },
            # The first one stands outside: who asks is known first; what another one refuses is recorded too.
            middleware=[
                DefineMiddleware(IdentifiedRequests, identify=identify, metrics=self.metrics),
                DefineMiddleware(AuditedRequests, audit=self.audit, metrics=self.metrics),
                PlainRequests,
            ],
            exception_handlers={Exception: respond},
            request_max_body_size=_BODY_BYTES_MAX,
            openapi_config=None,
            logging_config=None,
        )
        check_named(app, LEAST_ROLES)
        check_described(app)
        return app

    async def run(self, shutdown: Shutdown) -> None:
        await self.pool.open()
        try:
            operator = create_operator_app(metrics=self.metrics, ready=self.ready)
            on_socket = _on_socket(self._at_port(self._on_socket), self.settings.socket)
            # The socket first: it is the way in when the port for persons elsewhere cannot be opened.
            async with serving(operator, self.settings.operator), on_socket, self._for_persons_elsewhere():
                await self.leader.run(shutdown)
        finally:
            await self.pool.close()

    async def _on_socket(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Person:
        """Where persons have an issuer, whoever changes something here goes round it: that is counted, and alerts."""
        person = await person_on_socket(connection)
        if self.settings.oidc is not None and connection.scope["method"] != "GET":  # type: ignore[typeddict-item]
            self.metrics.counter("shardctl_break_glass_total").inc()
        return person

    @asynccontextmanager
    async def _for_persons_elsewhere(self) -> AsyncIterator[None]:
        """The port for persons whom the issuer knows; without one, nothing listens. A port that is taken, or a
        certificate that cannot be read, keeps nobody from the socket and no operation from going on: it is logged and
        counted."""
        oidc = self.settings.oidc
        if oidc is None:
            yield
            return
        async with HttpClient(connections_per_host=2) as http:
            keys = IssuerKeys(
                oidc.issuer,
                fetched_by(http),
                monotonic=self._clock.monotonic,
                on_failure=self.metrics.counter("shardctl_oidc_key_failures_total").inc,
            )
            # Not the stack's clock: the issuer's tokens follow the world's.
            persons = OidcPersons(oidc, keys, self.metrics, now_s=SystemClock().epoch_s)
            tls = {} if oidc.tls_cert is None else {"ssl_certfile": oidc.tls_cert, "ssl_keyfile": oidc.tls_key}
            options = {"http": PersonsPort, "limit_concurrency": _PERSONS_AT_ONCE, **tls}
            async with AsyncExitStack() as port:
                try:
                    if oidc.tls_cert is not None:  # uvicorn would read it after the socket is bound, and end us
                        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(oidc.tls_cert, oidc.tls_key)
                    at_port = self._at_port(persons.identify)
                    listener = socket.create_server((oidc.listen.host, oidc.listen.port), backlog=oidc.listen.backlog)
                    await port.enter_async_context(serving_on(at_port, listener, **options))
                except OSError as error:  # also ssl.SSLError
                    _log.error("nobody is let in from elsewhere; the socket works as ever", exc_info=error)
                    self.metrics.gauge("shardctl_oidc_port_closed").set(1)
                yield

    def _at_port(self, identify: Identify) -> AsgiApp:
        return telling_release(WithRequestId(WithMethods(self.create_app(identify))), own_release())


@asynccontextmanager
async def _on_socket(app: AsgiApp, path: Path) -> AsyncIterator[None]:
    """Serve at a path that only we and root may open. It is put in place by a rename, so the process before this one
    is never replaced by nothing; what it has accepted it answers."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    former = os.umask(0o177)
    try:
        listener.bind(str(beside))
    finally:
        os.umask(former)
    listener.listen(128)
    beside.rename(path)
    async with serving_on(app, listener, http=PeerPort):
        yield
