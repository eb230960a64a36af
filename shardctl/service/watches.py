"""What only a running control plane can notice and mend by itself, looked at every few seconds by the leader.

- Redis has no map, or an older one (it was emptied, or was away when the map changed): it is published to.
- A cell of the map has other addresses in the stack's record (a port changed): the map takes them in.
- A sign-up was left half done: it is finished or its email freed. Routers do that as well; with none running, nobody.
- A killed backup, restore or rehearsal left a half copy, or a server that recovers it: they are removed.
- An operation has ended, and its attempt has no outcome in the audit chain, because a leader of an older release ended
  it: the outcome is appended.

Each is harmless to repeat, and none is a person's decision, so none is an operation. One that fails is counted, and is
looked at again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from infra.backends.backend import Backend, BackendError, Overtaken
from infra.backends.backups import HasBackups
from infra.backends.cell_spec import ProcessKind
from infra.runtime.map_source import MapUnavailable
from infra.runtime.procedures import DatabaseFailure
from infra.runtime.redis_client import REDIS_FAILURES, make_redis
from infra.runtime.redis_map_source import RedisMapSource
from infra.runtime.settings import RedisSettings
from infra.runtime.telemetry import Metrics
from infra.topology.errors import MapError
from infra.topology.shard_map import ShardMap
from shardctl.backups.servers import all_servers, open_backups
from shardctl.cell_admin import CellAdmin, CellRefused, open_cell_admin
from shardctl.errors import Interrupted, NotReachable, Refused
from shardctl.operations.errors import LeaseLost
from shardctl.service.queries import ControlState, PendingClaim
from shardctl.shardmap.errors import MapNotCreated, ShardMapRefused
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.store import open_store
from shardctl.shardmap.tell_cells import tell_cells
from shardctl.token_signing import token_of_step

_log = logging.getLogger(__name__)
EVERY_S: Final = 5.0
"""Routers read the control database meanwhile: it is about their load and about what they hear at once."""
ACTOR: Final = "control"
_EXPECTED: Final = (
    DatabaseFailure,
    BackendError,
    NotReachable,
    Refused,
    Interrupted,
    ShardMapRefused,
    MapUnavailable,
    *REDIS_FAILURES,
)
FINISH_AGE_S: Final = 60.0
"""Twice the age at which routers begin: they are asked first, because they are nearer."""
FREE_AGE_S: Final = 900.0
"""Three times the life of a route token: no creation can still arrive."""
_CLAIMS_AT_ONCE: Final = 50
"""Sign-ups asked about in one look: some seconds, and the next look takes the rest."""
_LOCKED_S: Final = 10.0
"""Far longer than the change takes; a command that starts servers keeps the lock for longer, and is not waited for."""
_NO_SUCH_USER: Final = (404, "USER_NOT_FOUND")
"""A cell's answer about a user whose sign-up never reached it."""


class Watches:
    """A duty of the leader."""

    def __init__(self, state: ControlState, backend: Backend, control_dsn: str, metrics: Metrics) -> None:
        self._state = state
        self._backend = backend
        self._control_dsn = control_dsn
        self._metrics = metrics

    async def __call__(self, lease: int) -> None:
        """For ever. Raises LeaseLost."""
        watches: Mapping[str, Callable[[int], Awaitable[int]]] = {
            "addresses": self.take_in_addresses,
            "redis": self.publish_to_redis,
            "sign_ups": self.finish_sign_ups,
            "backups": self.remove_half_copies,
            "outcomes": self._state.end_left_attempts,
        }
        while True:
            for name, watch in watches.items():
                await self._look(name, watch, lease)
            await asyncio.sleep(EVERY_S)

    async def _look(self, name: str, watch: Callable[[int], Awaitable[int]], lease: int) -> None:
        try:
            done = await watch(lease)
        except MapNotCreated:
            return  # the stack is being made
        except _EXPECTED as error:
            _log.warning("a watch failed", exc_info=error, extra={"watch": name})
            self._metrics.counter("shardctl_watch_failures_total").labels(name).inc()
        else:
            if done:
                _log.info("mended", extra={"watch": name, "count": done})
            self._metrics.counter("shardctl_watch_repairs_total").labels(name).inc(done)

    async def publish_to_redis(self, lease: int) -> int:
        """Fenced by the epoch: Redis never takes an older map than it has. Raises NotReachable."""
        url = self._backend.addresses().redis_url
        async with open_store(self._control_dsn, lease=lease) as store:
            shard_map = await store.load()
        if await _redis_holds(url, shard_map):
            return 0
        return int(await publish_map(url, shard_map))

    async def take_in_addresses(self, lease: int) -> int:
        """Of cells that are in the map; one that is not may never have worked. Under the stack's lock, because who
        renews an app server leads the map elsewhere meanwhile; and only to servers that answer as ready, because a
        renewal that was killed leaves a stand-in that serves. Cells get what the map says of all cells. Returns how
        many cells got others. Raises LeaseLost."""
        try:
            async with asyncio.timeout(_LOCKED_S), self._backend.fenced(lease):
                return await self._take_in_addresses(lease)
        except TimeoutError:
            return 0  # somebody changes the stack
        except Overtaken as error:
            raise LeaseLost(str(error)) from error

    async def _take_in_addresses(self, lease: int) -> int:
        addresses, planned = self._backend.addresses(), await self._backend.plan()
        async with open_store(self._control_dsn, lease=lease) as store:
            shard_map = await store.load()
            before = shard_map.epoch
            for cell in addresses.spec.cells:
                urls = addresses.api_urls(cell), addresses.operator_urls(cell)
                known = shard_map.cell(cell.name)
                if known is None or urls == (known.api_urls, known.operator_urls):
                    continue
                servers = [each for each in planned if each.cell == cell.name and each.kind is ProcessKind.API]
                if all([await self._backend.is_ready(server) for server in servers]):
                    shard_map = await register_cell(store, shard_map, cell.name, *urls, by=ACTOR)
        await tell_cells(self._backend, shard_map)
        return int(shard_map.epoch - before)

    async def remove_half_copies(self, lease: int) -> int:
        """Whoever works on them holds a lock: nothing that is in use is touched, whoever leads. Raises Refused,
        BackendError."""
        if not isinstance(self._backend, HasBackups):
            return 0
        backups = open_backups(self._backend, lease=lease)
        return sum([await backups.sweep(server) for server in all_servers(self._backend)])

    async def finish_sign_ups(self, lease: int) -> int:
        """An email is freed only if its cell said that it has no such user, in these words, long after the sign-up.
        Raises NotReachable, Refused, NotAllowed."""
        claims = await self._state.pending_claims(age_s=FINISH_AGE_S, limit=_CLAIMS_AT_ONCE)
        done, silent = 0, set[str]()
        token = token_of_step(self._backend, subject=ACTOR, reason=None, fence=lease)
        async with open_cell_admin(self._backend, token) as admin:
            for claim in claims:
                if claim.cell_id in silent:
                    continue
                try:
                    exists = await _exists(admin, claim)
                except (NotReachable, Refused):
                    silent.add(claim.cell_id)
                    continue
                if exists:
                    done += await self._state.activate_claim(claim)
                elif claim.age_s >= FREE_AGE_S:
                    done += await self._state.free_claim(claim, age_s=FREE_AGE_S)
        return done


async def _exists(admin: CellAdmin, claim: PendingClaim) -> bool:
    """Raises NotReachable, and Refused for any answer but these two."""
    try:
        await admin.call(claim.cell_id, "GET", f"/operator/v1/users/{claim.user_id}")
    except CellRefused as error:
        if (error.status, error.code) != _NO_SUCH_USER:
            raise
        return False
    return True


async def _redis_holds(url: str, shard_map: ShardMap) -> bool:
    client = make_redis(RedisSettings(url=url))
    try:
        source = RedisMapSource(client)
        version = await source.read_version()
        if version is None:
            held = await source.read()
            version = None if held is None else (held.lineage, held.epoch)
    except MapError:
        return False  # damaged: it is written again
    finally:
        await client.aclose()
    return version is not None and version[0] == shard_map.lineage and version[1] >= shard_map.epoch
