"""Write the map of the control database to Redis again, for instance after Redis was emptied. Harmless to repeat."""

from infra.backends.backend import Backend
from infra.runtime.redis_client import REDIS_FAILURES
from shardctl.audit.recording import recorded_act
from shardctl.errors import NotReachable, Refused
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.store import open_store
from shardctl.stack.current import control_dsn


async def republish_map(backend: Backend, reason: str | None = None) -> int:
    """The epoch that Redis now has. Raises NotReachable, and Refused if Redis holds a newer map."""
    async with recorded_act(backend, "map.publish", "redis", reason=reason):
        async with open_store(control_dsn(backend)) as store:
            shard_map = await store.load()
        try:
            done = await publish_map(backend.addresses().redis_url, shard_map)
        except REDIS_FAILURES as error:
            raise NotReachable(f"Redis does not answer ({error}): `shardctl status`, `shardctl logs redis`") from error
        if not done:
            raise Refused(f"Redis holds a newer map than epoch {shard_map.epoch}: `shardctl doctor`")
        return shard_map.epoch
