"""The router's wiring, in order: keys, map, fleet, routes, what requests share; then sign-up and tokens, which alone
need a database; then what a request becomes.

Start-up waits a few seconds for a map and for nothing else. Ending stops accepting, lets every request finish, and
only then lets go of the cells.
"""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from infra.runtime.cancelling import cancel_all
from infra.runtime.clock import make_clock
from infra.runtime.database import Pool, make_pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.map_source import ControlMapSource, FileMapSource
from infra.runtime.map_watcher import MapWatcher
from infra.runtime.methods import WithMethods
from infra.runtime.operator_api import create_operator_app, serving
from infra.runtime.redis_client import make_redis
from infra.runtime.redis_map_source import RedisMapSource
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
from router.budget import budget_ms
from router.cell_calls import CellCalls
from router.cell_directory import CellDirectory
from router.claim_sweep import ClaimSweep
from router.client_connection import ClientConnection
from router.client_registry import ClientRegistry
from router.controller import create_pages
from router.dispatch import Dispatch
from router.documents import CustomerDocument
from router.fleet import Fleet
from router.headers import Ids
from router.hints import Hints
from router.hold import Holding
from router.identify import Routes
from router.limits import Limit
from router.listener import open_listener, serving_clients
from router.log_in import LogIn
from router.metrics import RouterCollector
from router.misroute import Misroutes
from router.queries import ControlQueries
from router.revoked import RevocationWatcher
from router.services import Limits, Services
from router.settings import LimitSettings, RouterSettings
from router.sign_up import SignUp
from router.slow_path import SlowPath
from router.tasks import TaskRegistry
from router.ticking import ticks
from router.tunnel_registry import TunnelRegistry
from router.upgrade import UpgradeServices

_FORGET_S: Final = 10.0
"""Between two sweeps of full token buckets: a large table holds the loop up for milliseconds, so not often."""


class Router:
    """The parts of one router process."""

    def __init__(self, settings: RouterSettings, *, now: Callable[[], float] | None = None) -> None:
        """`now` is the time of day, by which tokens, leases and revocations are judged; a test may say another than
        the settings do."""
        clock = make_clock(settings.clock.offset_s)
        now = now or clock.epoch_s
        self._clock = clock
        self.settings = settings
        self.listener: socket.socket | None = None
        self.draining = False
        self._started_at = clock.now().isoformat(timespec="milliseconds")
        keys = settings.keys_dir
        self.redis = make_redis(settings.redis)
        self.pool = _control_pool(settings)
        self.fleet = Fleet(settings.upstream, settings.admission)
        self.holding = Holding(settings.hold, now)
        self.watcher = self._make_watcher()
        self._verify_ring = follow_verify_ring(keys / CUSTOMER_VERIFY_FILE)
        self._route_ring = follow_key_ring(keys / ROUTE_FILE)
        signing_ring = follow_signing_ring(keys / CUSTOMER_SIGNING_FILE)
        self._rings: dict[str, KeySource[AnyRing]] = {
            CUSTOMER_VERIFY_FILE: self._verify_ring, CUSTOMER_SIGNING_FILE: signing_ring, ROUTE_FILE: self._route_ring
        }  # fmt: skip
        self._verified_by = self._verify_ring.current()
        hints = Hints()
        self.routes = Routes(
            verifier=CustomerTokenVerifier(self._verify_ring),
            signer=RouteTokenSigner(self._route_ring),
            current_map=lambda: self.watcher.current,
            fleet=self.fleet,
            hints=hints,
            is_void=self._is_void,
            route_token_ttl_s=settings.route_token_ttl_s,
            cached_max=settings.routes_cached_max,
            now=now,
        )
        self.misroutes = Misroutes(
            self.routes, hints, refresh=self.watcher.refresh, current_map=lambda: self.watcher.current
        )
        self.services = _services(settings, self.routes, self.holding)
        self.clients = ClientRegistry(settings.edge)
        self.tunnels = TunnelRegistry()
        self.tasks = TaskRegistry()
        self._page_tasks = TaskRegistry()
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
        directory = CellDirectory(self.watcher, self.fleet)
        self.sweep = ClaimSweep(queries, self.calls, self.routes)
        self.sign_ups = SignUp(directory, queries, self.calls, hasher, FaultPoints())
        self.pages = create_pages(
            self.sign_ups,
            LogIn(directory, queries, self.calls, hasher, is_void=self._is_void),
            AccessTokens(CustomerTokenSigner(signing_ring), now),
            CustomerDocument(self.fleet, self.calls),
            body_bytes_max=settings.edge.body_bytes_max,
        )
        self._dispatch = Dispatch(
            self.services,
            slow_path=SlowPath(self.routes, self.misroutes, self.tasks).begin,
            upgrades=UpgradeServices(
                misroutes=self.misroutes,
                tasks=self.tasks,
                tunnels=self.tunnels,
                tunnel_idle_s=settings.edge.tunnel_idle_s,
                drain_idle_s=settings.edge.drain_idle_s,
            ),
            pages=WithMethods(self.pages),
            page_tasks=self._page_tasks,
        )
        self.metrics = Metrics(())
        self.metrics.registry.register(
            RouterCollector(
                cells=self.fleet.upstreams,
                refusals=self.services.refusals,
                watch=self.watcher.watch,
                readings=self._readings(),
                now=clock.monotonic,
            )
        )

    def _make_watcher(self) -> MapWatcher:
        settings = self.settings
        return MapWatcher(
            redis_source=RedisMapSource(self.redis),
            control_source=ControlMapSource(
                settings.control.dsn, connect_timeout_s=settings.control.timeout_s, code=settings.control.code
            ),
            file_source=FileMapSource(settings.map_file),
            clock=self._clock,
            poll_s=settings.map_poll_s,
            on_change=self._follow,
        )

    def _readings(self) -> dict[str, Callable[[], float]]:
        """Metrics that are looked up when somebody asks for them, by name."""
        limits = self.services.limits
        return {
            "router_misroute_loops_total": lambda: self.misroutes.loops,
            "router_hints_followed_total": lambda: self.misroutes.hints_followed,
            "router_tokens_verified_total": lambda: self.routes.verified,
            "router_rejected_by_user_limit_total": lambda: limits.user.refused,
            "router_rejected_by_address_limit_total": lambda: limits.address.refused + limits.identity.refused,
            "router_token_buckets": lambda: limits.user.tracked + limits.address.tracked,
            "router_revoked_users": lambda: len(self.revoked.held),
            "router_revocations_refused_total": lambda: self.revoked.refused,
            "router_access_log_lines_dropped_total": lambda: self.services.access_log.dropped,
            "router_held_requests": lambda: self.holding.waiting,
            "router_holds_total": lambda: self.holding.held,
            "router_holds_abandoned_total": lambda: self.holding.given_up,
            "router_holds_shed_total": lambda: self.holding.shed,
            "router_client_connections_refused_total": lambda: self.clients.refused,
            "router_client_connections": lambda: len(self.clients),
            "router_claims_finished_total": lambda: self.sweep.finished,
            "router_claims_freed_total": lambda: self.sweep.freed,
        }

    def _is_void(self, user_id: UUID, issued_at_s: int) -> bool:
        return self.revoked.held.is_void(user_id, issued_at_s)

    def _revoke(self, user_ids: set[UUID]) -> None:
        self.routes.forget_users(user_ids)
        self.tunnels.close_of(user_ids)

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
        edge = serving_clients(
            self._make_client, settings.listen, self.listener, drain=self._drain, keeps_listener=keeps_listener
        )
        async with self.running(), serving(operator, settings.operator), self.pages.lifespan(), edge:
            try:
                yield
            finally:
                self.draining = True
                await asyncio.sleep(settings.drain_notice_s)

    def _make_client(self) -> ClientConnection:
        dispatch = self._dispatch
        return ClientConnection(
            self.clients,
            self.settings.edge,
            open_exchange=dispatch.open_exchange,
            open_refusal=dispatch.open_refusal,
        )

    async def _drain(self) -> None:
        """Clients first; then what they asked of our own pages and did not wait for."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.settings.drain_s
        await self.clients.drain(self.settings.drain_s)
        await self._page_tasks.finish(until_s - loop.time())

    def _follow_keys(self) -> None:
        """Requests look at the keys themselves; a stream that is open asks nothing any more."""
        now = self._verify_ring.current()
        if now is not self._verified_by:
            self._verified_by = now
            self.tunnels.close_under_other_keys(now.keys)

    async def _sweep_clients(self) -> None:
        limits = self.services.limits
        forget_at_s = 0.0
        # no limit of a client is shorter than half a second; who waits for the drain sees the end of the last one
        async for now_s in ticks(lambda: 0.1 if self.draining else 0.5):
            self.clients.sweep(now_s)
            self._follow_keys()
            if now_s >= forget_at_s:
                forget_at_s = now_s + _FORGET_S
                for limit in (limits.user, limits.address, limits.identity):
                    limit.sweep(now_s)


def _control_pool(settings: RouterSettings) -> Pool:
    """For sign-ups, logins and revocations; no request of a known customer needs it."""
    control = settings.control
    return make_pool(
        PostgresSettings(
            dsn=control.dsn,
            code=control.code,
            pool_max=control.pool_max,
            connect_timeout_s=control.timeout_s,
            clock_offset_s=settings.clock.offset_s,
        ),
        settings.name,
    )


def _services(settings: RouterSettings, routes: Routes, holding: Holding) -> Services:
    deadline_s = settings.upstream.deadline_s
    return Services(
        routes=routes,
        holding=holding,
        limits=_limits(settings.limits),
        ids=Ids(),
        access_log=AccessLog(settings.access_log),
        refusals=Counter(),
        deadline_s=deadline_s,
        whole_budget_ms=budget_ms(deadline_s, 0.0),
    )


def _limits(settings: LimitSettings) -> Limits:
    tracked_max = settings.tracked_max
    return Limits(
        user=Limit("customer", per_s=settings.user_per_s, burst=settings.user_burst, tracked_max=tracked_max),
        address=Limit("address", per_s=settings.address_per_s, burst=settings.address_burst, tracked_max=tracked_max),
        identity=Limit(
            "address", per_s=settings.identity_per_s, burst=settings.identity_burst, tracked_max=tracked_max
        ),
    )
