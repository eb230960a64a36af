"""Write the map of the control database to Redis again, for instance after Redis was emptied. Harmless to repeat."""

from infra.runtime.redis_client import REDIS_FAILURES
from shardctl.errors import NotReachable, Refused
from shardctl.operations.resources import StackResources
from shardctl.shardmap.publish import publish_map


async def republish_map(on: StackResources) -> int:
    """The epoch that Redis now has. Raises NotReachable, and Refused if Redis holds a newer map."""
    async with on.map_store() as store:
        shard_map = await store.load()
    try:
        done = await publish_map(on.backend.addresses().redis_url, shard_map)
    except REDIS_FAILURES as error:
        raise NotReachable(f"Redis does not answer ({error}): `shardctl status`, `shardctl logs redis`") from error
    if not done:
        raise Refused(f"Redis holds a newer map than epoch {shard_map.epoch}: `shardctl doctor`")
    return shard_map.epoch
