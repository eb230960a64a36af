"""Wiring of a cell's app server, in order: settings, pool, batcher, rooms, the two ports."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from litestar import Litestar, Request, Response, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.types import ExceptionHandlersMap

from cell import errors
from cell.accounts.controllers.account import AccountController
from cell.accounts.controllers.internal import InternalController
from cell.accounts.hashing import PasswordHashing
from cell.accounts.open_account import Accounts
from cell.archive.controller import ArchiveController
from cell.caller import Answer, Caller
from cell.commands.batcher import Batcher, BatcherLimits
from cell.commands.command import procedures
from cell.customer_port import CustomerPort
from cell.incarnations.controller import IncarnationChanges, IncarnationReads, RestoredUsers
from cell.ledger.controller import LedgerController
from cell.metrics import COMMANDS
from cell.move.controller import Certificates, MoveController, MoveReads, Movers
from cell.move.delivery import Addresses, CertificateDelivery
from cell.operations.controller import LeaderController, OperatorChanges, OperatorReads
from cell.operations.fence import refuse_former_leaders
from cell.operator_roles import LEAST_ROLES, SELF_PROVING
from cell.order_log import OrderLog
from cell.orders.cancel import cancel_order
from cell.orders.controllers.history import OrderHistory
from cell.orders.controllers.operators import OperatorOrders
from cell.orders.controllers.orders import OrderController
from cell.orders.place import place_order
from cell.orders.schemas import parse_order_id
from cell.ownership.guard import RouteGuard, as_they_know
from cell.positions.controller import PositionController
from cell.reconciliation.controller import ReconciliationReads, ReconciliationRuns
from cell.request_figures import AppServerCollector, RequestFigures
from cell.rollups.controller import RollupReads
from cell.settings import CellSettings
from cell.transfers.controllers.customers import ShareTransfers
from cell.transfers.controllers.operators import TransferDecisions, TransferReads
from infra.runtime.cancelling import cancel_all
from infra.runtime.clock import Clock, SystemClock, TimeOrderedIds, make_clock
from infra.runtime.database import Pool, answers, make_pool, release_is_installed
from infra.runtime.deadline import OutOfTime
from infra.runtime.fair_permits import FairPermits
from infra.runtime.fault_points import FaultPoints
from infra.runtime.http_client import HttpClient
from infra.runtime.methods import Methods
from infra.runtime.operator_api import Operators, create_operator_app, load_operator_ring, operator_keys
from infra.runtime.plain_requests import PlainRequests
from infra.runtime.problem import Problem, to_response
from infra.runtime.procedures import AWAY, REFUSED, TAKEN, DatabaseBusy, sqlstate_of
from infra.runtime.telemetry import Metrics
from infra.security.cell_keys import follow_cell_keys, follow_operator_urls, follow_public_keys
from infra.security.certificate import CertificateSigner, CertificateVerifier
from infra.security.keys import ROUTE_FILE, KeySource, follow_key_ring, key_ids

_log = logging.getLogger(__name__)
OPERATOR_CONTROLLERS: Final = (
    LeaderController,
    OperatorReads,
    OperatorOrders,
    TransferReads,
    RollupReads,
    TransferDecisions,
    OperatorChanges,
    ReconciliationReads,
    ReconciliationRuns,
    ArchiveController,
    IncarnationReads,
    IncarnationChanges,
    RestoredUsers,
    MoveController,
    Certificates,
    MoveReads,
)
"""Of the operator port; what each of their endpoints wants is in `operator_roles.py`."""


@dataclass(frozen=True)
class CellApp:
    """The two ports of one app server; they share the pools and must be served in one loop, inside `running`."""

    customer: CustomerPort
    customer_routes: Litestar
    operator: Litestar
    pool: Pool
    operator_pool: Pool
    checks_pool: Pool
    mover_pool: Pool
    batcher: Batcher
    metrics: Metrics
    addresses: KeySource[Addresses] | None
    """Of the other cells; None: nobody leaves this process's cell through it."""

    def openapi(self) -> dict[str, Any]:
        """The document of the customer port."""
        return self.customer_routes.openapi_schema.to_schema()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Pools open, batcher running; on the way out queued commands are answered first."""
        await self.pool.open()
        await self.operator_pool.open()
        await self.checks_pool.open()
        await self.mover_pool.open()
        try:
            async with self.batcher, self._delivering():
                yield
        finally:
            await self.mover_pool.close()
            await self.checks_pool.close()
            await self.operator_pool.close()
            await self.pool.close()

    @asynccontextmanager
    async def _delivering(self) -> AsyncIterator[None]:
        if self.addresses is None:
            yield
            return
        async with HttpClient(connections_per_host=4) as http:
            delivery = CertificateDelivery(self.mover_pool, self.addresses, http)
            task = asyncio.create_task(delivery.run())
            try:
                yield
            finally:
                await cancel_all([task])


def create_app(settings: CellSettings) -> CellApp:
    """One app server of a cell."""
    clock = make_clock(settings.clock.offset_s)
    metrics = Metrics(COMMANDS)
    postgres = settings.postgres.model_copy(update={"lock_timeout_ms": settings.held_user_wait_ms})
    shares = _shares(settings)
    pool = make_pool(postgres, f"{settings.name}-api", shares=shares)
    # Checks over a whole cell take longer than any customer may wait, and must not take customers' connections; nor
    # all of the operators', who may have to act meanwhile.
    unhurried = settings.postgres.model_copy(update={"statement_timeout_ms": 300_000})
    operator_pool = make_pool(unhurried, f"{settings.name}-operator", size=4, checked=True)
    checks_pool = make_pool(unhurried, f"{settings.name}-checks", size=1, checked=True)
    moving = unhurried.model_copy(update={"dsn": settings.mover_dsn or settings.postgres.dsn})
    mover_pool = make_pool(moving, f"{settings.name}-mover", size=4)
    figures = RequestFigures()
    pools = {"customers": pool, "operators": operator_pool, "checks": checks_pool, "movers": mover_pool}
    metrics.registry.register(AppServerCollector(figures, pools, shares))
    batcher = _batcher(settings, pool, metrics)
    new_id = TimeOrderedIds(clock)
    accounts = Accounts(
        pool,
        PasswordHashing(metrics),
        profile=settings.new_user_profile,
        refresh_days=settings.refresh_token_days,
        clock=clock,
        new_id=new_id,
    )
    route_ring = follow_key_ring(settings.keys_dir / ROUTE_FILE)
    operator_ring = load_operator_ring(settings.keys_dir)
    guard = RouteGuard(route_ring, settings.name, clock.epoch_s)

    async def place(caller: Caller, key: str, body: bytes) -> Answer:
        return await place_order(batcher, caller, key, body)

    async def cancel(caller: Caller, key: str, order_id: str) -> Answer:
        return await cancel_order(batcher, caller, key, parse_order_id(order_id))

    routes = _customer_litestar(settings, guard, pool, batcher, accounts, clock)
    customer = CustomerPort(
        routes,
        cell_name=settings.name,
        guard=guard,
        place=place,
        cancel=cancel,
        body_max_bytes=settings.body_max_bytes,
        methods=Methods(routes),
        figures=figures,
    )

    async def ready() -> tuple[bool, Mapping[str, object]]:
        is_up = await answers(pool)
        has_code = is_up and await release_is_installed(pool, postgres)
        facts = {
            "cell": settings.name,
            "database": is_up,
            "code": postgres.code,
            "code_installed": has_code,
            "commands_waiting": batcher.waiting,
            "keys": key_ids({ROUTE_FILE: route_ring}) | operator_keys(operator_ring),
        }
        return has_code, facts

    operator = create_operator_app(
        metrics=metrics,
        ready=ready,
        routes=[_operator_routes(_movers(settings, mover_pool), operator_pool, checks_pool, clock, new_id)],
        operators=Operators(settings.name, operator_ring, LEAST_ROLES, clock.epoch_s, SELF_PROVING),
    )
    return CellApp(
        customer, routes, operator, pool, operator_pool, checks_pool, mover_pool, batcher, metrics, _addresses(settings)
    )


def _batcher(settings: CellSettings, pool: Pool, metrics: Metrics) -> Batcher:
    order_log = OrderLog(settings.log_orders_one_in)
    calls = procedures(
        accept_transfers=settings.share_transfers == "accept",
        reference_age_max_s=settings.reference_price_age_max_s,
        market_hours=settings.market_hours,
        order_log=order_log,
    )
    limits = BatcherLimits(
        settings.batch_max,
        settings.flights_max,
        settings.queue_max,
        settings.user_queue_max,
        settings.command_deadline_s,
        settings.held_user_wait_ms / 1000,
    )
    return Batcher(pool, calls, limits, metrics=metrics, faults=FaultPoints(), order_log=order_log)


def _shares(settings: CellSettings) -> FairPermits:
    """Of the pool's connections: what the calls of commands and one probe leave is for customers' requests."""
    left = max(1, settings.postgres.pool_max - settings.flights_max - 1)
    return FairPermits(
        permits_max=left,
        permits_per_holder_max=min(settings.user_connections_max, left),
        waiting_max=settings.waiting_max,
        waiting_per_holder_max=settings.user_waiting_max,
    )


def _addresses(settings: CellSettings) -> KeySource[Addresses] | None:
    return None if settings.own_keys_dir is None else follow_operator_urls(settings.keys_dir)


def _movers(settings: CellSettings, pool: Pool) -> Movers:
    signer = verifier = None
    if settings.own_keys_dir is not None:
        signer = CertificateSigner(follow_cell_keys(settings.own_keys_dir), settings.name)
        verifier = CertificateVerifier(follow_public_keys(settings.keys_dir))
    return Movers(settings.name, pool, FaultPoints(), signer, verifier)


def _operator_routes(
    movers: Movers, pool: Pool, checks_pool: Pool, clock: SystemClock, new_id: TimeOrderedIds
) -> Router:
    dependencies = {
        "clock": Provide(lambda: clock, sync_to_thread=False),
        "new_id": Provide(lambda: new_id, sync_to_thread=False),
        "pool": Provide(lambda: pool, sync_to_thread=False),
        "checks_pool": Provide(lambda: checks_pool, sync_to_thread=False),
        "cell_name": Provide(lambda: movers.cell_name, sync_to_thread=False),
        "movers": Provide(lambda: movers, sync_to_thread=False),
    }
    return Router(
        "/",
        route_handlers=OPERATOR_CONTROLLERS,
        guards=[refuse_former_leaders(pool)],
        dependencies=dependencies,
        exception_handlers=_DATABASE_AWAY,
    )


def _customer_litestar(
    settings: CellSettings,
    guard: RouteGuard,
    pool: Pool,
    batcher: Batcher,
    accounts: Accounts,
    clock: Clock,
) -> Litestar:
    def caller(request: Request[Any, Any, Any]) -> Caller:
        return guard.identify(request.headers.get("x-route-token"))

    def refuse(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
        return to_response(request, problem if problem.status != 421 else as_they_know(problem, caller(request)))

    return Litestar(
        route_handlers=[
            OrderController,
            OrderHistory,
            ShareTransfers,
            AccountController,
            PositionController,
            LedgerController,
            InternalController,
        ],
        dependencies={
            "caller": Provide(caller, sync_to_thread=False),
            "pool": Provide(lambda: pool, sync_to_thread=False),
            "batcher": Provide(lambda: batcher, sync_to_thread=False),
            "accounts": Provide(lambda: accounts, sync_to_thread=False),
            "clock": Provide(lambda: clock, sync_to_thread=False),
        },
        exception_handlers={
            **_DATABASE_AWAY,
            Problem: refuse,
            Exception: to_response,
        },
        middleware=[PlainRequests],
        request_max_body_size=settings.body_max_bytes,
        openapi_config=OpenAPIConfig(title="Brokerage", version="1", path="/", render_plugins=[]),
        logging_config=None,
    )


def _database_away(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.warning("the database does not answer", exc_info=error)
    return to_response(request, errors.unavailable())


def _connections_taken(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    return to_response(request, errors.overloaded("too many requests wait for the database; nothing was done"))


def _database_busy(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    return to_response(request, errors.overloaded("the account is busy; nothing was done"))


def _refused(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    fenced = sqlstate_of(error) == errors.FENCED_SQLSTATE
    return to_response(request, errors.cell_fenced() if fenced else error)


def _out_of_time(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    return to_response(request, errors.overloaded("the cell could not answer this in time; ask again"))


_DATABASE_AWAY: ExceptionHandlersMap = {
    **dict.fromkeys(AWAY, _database_away),
    **dict.fromkeys(TAKEN, _connections_taken),
    **dict.fromkeys(REFUSED, _refused),
    DatabaseBusy: _database_busy,
    OutOfTime: _out_of_time,
}
