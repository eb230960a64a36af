"""The router's wiring, in order: keys, map, fleet, routes, the edge; then sign-up and tokens, which alone need a
database.

Start-up waits a few seconds for a map and for nothing else. Ending stops accepting, lets every request finish, and
only then lets go of the cells.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.types import Message, Scope

from infra.runtime.cancelling import cancel_all
from infra.runtime.clock import make_clock
from infra.runtime.database import Pool, make_pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.map_source import ControlMapSource, FileMapSource, RedisMapSource
from infra.runtime.map_watcher import MapWatcher
from infra.runtime.operator_api import create_operator_app, serving
from infra.runtime.plain_requests import PlainRequests
from infra.runtime.problem import Problem, to_response
from infra.runtime.redis_client import make_redis
from infra.runtime.revocation_source import RedisRevocations
from infra.runtime.settings import PostgresSettings
from infra.runtime.telemetry import Metrics
from infra.security.customer_token import CustomerTokenSigner, CustomerTokenVerifier
from infra.security.email_hash import EmailHasher
from infra.security.keys import (
    CUSTOMER_SIGNING_FILE,
    CUSTOMER_VERIFY_FILE,
    EMAIL_PEPPER_FILE,
    ROUTE_FILE,
    AnyRing,
    KeySource,
    follow_key_ring,
    follow_signing_ring,
    follow_verify_ring,
    key_ids,
    load_key_ring,
)
from infra.security.route_token import RouteTokenSigner
from infra.topology.shard_map import ShardMap
from router.access_log import AccessLog
from router.access_tokens import AccessTokens
from router.cell_calls import CellCalls
from router.claim_sweep import ClaimSweep
from router.client_sweep import sweep_clients
from router.controller import IdentityController
from router.docs_page import render_docs
from router.documents import CustomerDocument
from router.edge import protocol_factory
from router.errors import RouterRefusal, refusal_headers
from router.fleet import Fleet
from router.forwarder import Forwarder, Limits
from router.hold import Holding
from router.identify import Routes
from router.limits import Limit
from router.listener import open_listener, serving_edge
from router.log_in import LogIn
from router.metrics import RouterCollector
from router.misroute import Misroutes
from router.queries import ControlQueries
from router.revoked import RevocationWatcher
from router.settings import LimitSettings, RouterSettings
from router.sign_up import SignUp
from router.ticking import ticks
from router.world import World

_FORGET_S = 10.0
_DESCRIPTION = (
    "Everything a customer may ask. Amounts are decimal strings; errors are problem documents. HEAD is served wherever "
    "GET is. Query parameters that a call does not have, or that are given twice, are refused by name, and so are "
    "headers of one value that are given twice. Bodies are not coded: a Content-Encoding is answered 415."
)


class Router:
    """The parts of one router process."""

    def __init__(self, settings: RouterSettings, *, now: Callable[[], float] | None = None) -> None:
        """`now` is the time of day, by which tokens, leases and revocations are judged; a test may say another than
        the settings do."""
        clock = make_clock(settings.clock)
        now = now or clock.epoch_s
        self._clock = clock
        self.settings = settings
        self.listener: socket.socket | None = None
        self.draining = False
        self._started_at = clock.now().isoformat(timespec="milliseconds")
        keys = settings.keys_dir
        self.redis = make_redis(settings.redis)
        self.pool: Pool = make_pool(
            PostgresSettings(
                dsn=settings.control.dsn,
                pool_max=settings.control.pool_max,
                connect_timeout_s=settings.control.timeout_s,
                clock_offset_s=settings.clock.offset_s,
            ),
            settings.name,
        )
        self.fleet = Fleet(settings.upstream)
        self.holding = Holding(settings.hold, now)
        self.watcher = MapWatcher(
            redis_source=RedisMapSource(self.redis),
            control_source=ControlMapSource(settings.control.dsn, connect_timeout_s=settings.control.timeout_s),
            file_source=FileMapSource(settings.map_file),
            clock=clock,
            poll_s=settings.map_poll_s,
            on_change=self._follow,
        )
        self._verify_ring = follow_verify_ring(keys / CUSTOMER_VERIFY_FILE)
        self._route_ring = follow_key_ring(keys / ROUTE_FILE)
        signing_ring = follow_signing_ring(keys / CUSTOMER_SIGNING_FILE)
        self._rings: dict[str, KeySource[AnyRing]] = {
            CUSTOMER_VERIFY_FILE: self._verify_ring, CUSTOMER_SIGNING_FILE: signing_ring, ROUTE_FILE: self._route_ring
        }  # fmt: skip
        self._verified_by = self._verify_ring.current()
        self.routes = Routes(
            verifier=CustomerTokenVerifier(self._verify_ring),
            signer=RouteTokenSigner(self._route_ring),
            current_map=lambda: self.watcher.current,
            fleet=self.fleet,
            is_void=self._is_void,
            route_token_ttl_s=settings.route_token_ttl_s,
            cached_max=settings.routes_cached_max,
            now=now,
        )
        self.misroutes = Misroutes(self.routes, refresh=self.watcher.refresh, current_map=lambda: self.watcher.current)
        self.forwarder = Forwarder(
            self.routes,
            self.misroutes,
            self.holding,
            _limits(settings.limits),
            AccessLog(settings.access_log),
            deadline_s=settings.upstream.deadline_s,
        )
        self.calls = CellCalls(self.routes, self.misroutes, deadline_s=settings.upstream.deadline_s)
        queries = ControlQueries(self.pool, timeout_s=settings.control.timeout_s)
        hasher = EmailHasher(load_key_ring(keys / EMAIL_PEPPER_FILE))
        self.revoked = RevocationWatcher(
            redis_source=RedisRevocations(self.redis),
            ask_control=queries.revocations,
            file=settings.map_file.with_suffix(".revoked"),
            poll_s=settings.map_poll_s,
            on_revoked=self._revoke,
            now=now,
        )
        world = World(self.watcher, self.fleet)
        self.sign_ups = SignUp(world, queries, self.calls, hasher, FaultPoints())
        self.log_ins = LogIn(world, queries, self.calls, hasher, is_void=self._is_void)
        self.sweep = ClaimSweep(queries, self.calls, self.routes)
        self.access_tokens = AccessTokens(CustomerTokenSigner(signing_ring), now)
        self.metrics = Metrics(())
        self.metrics.registry.register(
            RouterCollector(
                cells=self.fleet.upstreams,
                refusals=self.forwarder.refusals,
                watch=self.watcher.watch,
                readings={
                    "router_misroute_loops_total": lambda: self.misroutes.loops,
                    "router_tokens_verified_total": lambda: self.routes.verified,
                    "router_rejected_by_user_limit_total": lambda: self.forwarder.limits.user.refused,
                    "router_rejected_by_address_limit_total": lambda: (
                        self.forwarder.limits.address.refused + self.forwarder.limits.identity.refused
                    ),
                    "router_token_buckets": lambda: (
                        self.forwarder.limits.user.tracked + self.forwarder.limits.address.tracked
                    ),
                    "router_revoked_users": lambda: len(self.revoked.held),
                    "router_revocations_refused_total": lambda: self.revoked.refused,
                    "router_access_log_lines_dropped_total": lambda: self.forwarder.log.left_out,
                    "router_held_requests": lambda: self.holding.waiting,
                    "router_holds_total": lambda: self.holding.held,
                    "router_holds_abandoned_total": lambda: self.holding.given_up,
                    "router_holds_shed_total": lambda: self.holding.turned_away,
                    "router_client_connections_refused_total": lambda: self.forwarder.clients_refused,
                    "router_client_connections": lambda: len(self.forwarder.clients),
                    "router_claims_finished_total": lambda: self.sweep.finished,
                    "router_claims_freed_total": lambda: self.sweep.freed,
                },
                now=clock.monotonic,
            )
        )

    def _is_void(self, user_id: UUID, issued_at_s: int) -> bool:
        return self.revoked.held.is_void(user_id, issued_at_s)

    def _revoke(self, user_ids: set[UUID]) -> None:
        self.routes.forget_users(user_ids)
        self.forwarder.close_tunnels_of(user_ids)

    def _follow(self, shard_map: ShardMap) -> None:
        self.fleet.follow(shard_map)
        self.holding.map_changed()

    async def ready(self) -> tuple[bool, dict[str, object]]:
        """Able to serve, by which map, how old it is. A draining router is not ready: whoever balances goes on."""
        watch = self.watcher.watch
        held = watch.shard_map
        age_s = self._clock.monotonic() - watch.confirmed_at_s if watch.confirmed_at_s else None
        return held is not None and not self.draining, {
            "router": self.settings.name,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "draining": self.draining,
            "map_epoch": None if held is None else held.epoch,
            "map_lineage": None if held is None else str(held.lineage),
            "map_source": watch.source,
            "map_taken_at": None if watch.taken_at is None else watch.taken_at.isoformat(timespec="microseconds"),
            "map_confirmed_s_ago": None if age_s is None else round(age_s, 1),
            "keys": key_ids(self._rings),
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything but the sockets."""
        await self.pool.open(wait=False)
        await self.watcher.start()
        await self.revoked.start()
        self.fleet.start()
        tasks = [asyncio.create_task(self.sweep.run()), asyncio.create_task(self._sweep_clients())]
        try:
            yield
        finally:
            await cancel_all(tasks)
            await self.revoked.stop()
            await self.watcher.stop()
            await self.fleet.close()
            await self.pool.close(timeout=2)
            await self.redis.aclose()

    @asynccontextmanager
    async def serving(self, *, keeps_listener: Callable[[], bool] = lambda: False) -> AsyncIterator[None]:
        """Both ports open; leaving drains the customers' port before anything else goes."""
        settings = self.settings
        operator = create_operator_app(metrics=self.metrics, ready=self.ready)
        self.listener = open_listener(settings.listen, settings.listen_fd)
        edge = serving_edge(
            create_identity_app(self),
            settings.listen,
            self.listener,
            http=protocol_factory(self.forwarder, settings.edge),
            drain_s=settings.drain_s,
            keeps_listener=keeps_listener,
        )
        async with self.running(), serving(operator, settings.operator), edge:
            try:
                yield
            finally:
                self.draining = True
                await asyncio.sleep(settings.drain_notice_s)

    def _follow_keys(self) -> None:
        """Requests look at the keys themselves; a stream that is open asks nothing any more."""
        now = self._verify_ring.current()
        if now is not self._verified_by:
            self._verified_by = now
            self.forwarder.close_tunnels_under_other_keys(now.keys)

    async def _sweep_clients(self) -> None:
        limits = self.forwarder.limits
        forget_at_s = 0.0
        async for now_s in ticks(lambda: 0.1 if self.draining else 0.5):
            sweep_clients(self.forwarder.clients, self.settings.edge, now_s)
            self._follow_keys()
            if now_s >= forget_at_s:
                forget_at_s = now_s + _FORGET_S
                for limit in (limits.user, limits.address, limits.identity):
                    limit.sweep(now_s)


def _limits(settings: LimitSettings) -> Limits:
    tracked_max = settings.tracked_max
    return Limits(
        user=Limit("customer", per_s=settings.user_per_s, burst=settings.user_burst, tracked_max=tracked_max),
        address=Limit("address", per_s=settings.address_per_s, burst=settings.address_burst, tracked_max=tracked_max),
        identity=Limit(
            "address", per_s=settings.identity_per_s, burst=settings.identity_burst, tracked_max=tracked_max
        ),
    )


def create_identity_app(router: Router) -> Litestar:
    """Litestar's part: sign-up, tokens, documents."""
    document = CustomerDocument(router.fleet, router.calls)

    @get("/openapi.json", media_type=MediaType.JSON, include_in_schema=False)
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        own = request.app.openapi_schema.to_schema()
        return Response(await document.render(own), media_type="application/json")

    @get("/docs", media_type=MediaType.HTML, include_in_schema=False)
    async def docs(request: Request[Any, Any, Any]) -> Response[str]:
        merged = msgspec.json.decode(await document.render(request.app.openapi_schema.to_schema()))
        return Response(render_docs(merged), media_type=MediaType.HTML)

    return Litestar(
        route_handlers=[IdentityController, openapi, docs],
        dependencies={
            "sign_ups": Provide(lambda: router.sign_ups, sync_to_thread=False),
            "log_ins": Provide(lambda: router.log_ins, sync_to_thread=False),
            "access_tokens": Provide(lambda: router.access_tokens, sync_to_thread=False),
        },
        exception_handlers={RouterRefusal: _refuse, RecursionError: _refuse_depth, Exception: to_response},
        middleware=[PlainRequests],
        before_send=[_add_request_id],
        request_max_body_size=router.settings.edge.body_bytes_max,
        openapi_config=OpenAPIConfig(
            title="Cell brokerage",
            version="1",
            description=_DESCRIPTION,
            path="/schema",
            render_plugins=[],
        ),
        logging_config=None,
    )


def _refuse(request: Request[Any, Any, Any], refusal: RouterRefusal) -> Response[bytes]:
    problem = Problem(refusal.status, refusal.code, refusal.detail, headers=refusal_headers(refusal))
    return to_response(request, problem)


def _refuse_depth(request: Request[Any, Any, Any], _: RecursionError) -> Response[bytes]:
    return to_response(request, Problem(400, "INVALID_FIELD", "body: nested too deeply", field="body"))


async def _add_request_id(message: Message, scope: Scope) -> None:
    if message["type"] == "http.response.start":
        request_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
