"""Publish the map to every router: the snapshot to Redis, then a notice, which carries the change itself if it is
small.

Never replaces a newer map of the same lineage by an older one. Redis may be down: the control database has the map, and
routers ask it every few seconds.
"""

from typing import Final

from infra.runtime.redis_client import make_redis
from infra.runtime.redis_map_source import REDIS_CHANGED_CHANNEL, REDIS_SNAPSHOT_KEY
from infra.runtime.settings import RedisSettings
from infra.topology.diff import diff_maps, encode_delta
from infra.topology.shard_map import ShardMap
from infra.topology.snapshot import encode_map

_VERSION_KEY: Final = "shardmap:version"

# Set and announce in one step: two publishers cannot leave the older map behind.
_PUBLISH: Final = """
local held = redis.call('get', KEYS[2])
if held then
  local lineage, epoch = string.match(held, '^(.*)/(%d+)$')
  if lineage == ARGV[2] and tonumber(epoch) > tonumber(ARGV[3]) then return 0 end
end
redis.call('set', KEYS[1], ARGV[1])
redis.call('set', KEYS[2], ARGV[2] .. '/' .. ARGV[3])
redis.call('publish', ARGV[4], ARGV[5])
return 1
"""


async def publish_map(
    redis_url: str, shard_map: ShardMap, *, previous: ShardMap | None = None, timeout_s: float = 5.0
) -> bool:
    """Whether it was published; false if Redis holds a newer one. Readers that hold `previous` need no more than the
    notice, everybody else reads the snapshot. Raises `redis.exceptions.RedisError`."""
    delta = None if previous is None else diff_maps(previous, shard_map)
    notice = str(shard_map.epoch).encode() if delta is None else encode_delta(delta)
    client = make_redis(RedisSettings(url=redis_url, timeout_s=timeout_s))
    try:
        script = client.register_script(_PUBLISH)
        done = await script(
            keys=[REDIS_SNAPSHOT_KEY, _VERSION_KEY],
            args=[encode_map(shard_map), str(shard_map.lineage), str(shard_map.epoch), REDIS_CHANGED_CHANNEL, notice],
        )
    finally:
        await client.aclose()
    return bool(done)
