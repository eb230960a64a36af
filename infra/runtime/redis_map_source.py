"""The shard map in Redis, where `shardctl` publishes it: the snapshot, and the notices of each change.

Promises what every source does (`map_source.py`): a whole valid map, or `None`, or an error, and never a part.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast

import redis.asyncio

from infra.runtime.map_source import SNAPSHOT_BYTES_MAX, MapUnavailable
from infra.runtime.redis_client import REDIS_FAILURES
from infra.topology.errors import MapCorrupted
from infra.topology.identifiers import Epoch, LineageId
from infra.topology.shard_map import ShardMap
from infra.topology.snapshot import VERSION_BYTES, decode_map, read_version

REDIS_SNAPSHOT_KEY: Final = "shardmap:snapshot"
REDIS_CHANGED_CHANNEL: Final = "shardmap:changed"
_LISTEN_S: Final = 30.0
"""One wait for a notice; then it is asked again, so that a cancellation is never waited for longer."""
_LARGE_BYTES: Final = 500_000
"""From here on a snapshot's version is read before the snapshot: one question more, against all of it every few
seconds. One without a single pin has 656 KB."""


class RedisMapSource:
    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def read(self) -> ShardMap | None:
        """The newest map, None if there is none yet. Raises MapUnavailable, MapCorrupted."""
        try:
            document = await self._client.get(REDIS_SNAPSHOT_KEY)
        except REDIS_FAILURES as error:
            raise MapUnavailable(f"redis: {error}") from error
        if document is None:
            return None
        if not isinstance(document, bytes):  # well-formed, but an answer to something else
            raise MapUnavailable(f"redis: a {type(document).__name__} instead of a snapshot")
        return await decode_aside(document)

    async def read_version(self) -> tuple[LineageId, Epoch] | None:
        """Of a large snapshot, by its first bytes; None of a small one, which may as well be read and checked. Raises
        MapUnavailable."""
        try:
            if int(await self._client.strlen(REDIS_SNAPSHOT_KEY)) < _LARGE_BYTES:
                return None
            return read_version(cast(bytes, await self._client.getrange(REDIS_SNAPSHOT_KEY, 0, VERSION_BYTES - 1)))
        except REDIS_FAILURES as error:
            raise MapUnavailable(f"redis: {error}") from error
        except MapCorrupted:
            return None

    async def listen(self, on_notice: Callable[[bytes], Awaitable[None]]) -> None:
        """Call back once when listening (with nothing) and then at each notice, with what it says: a delta or an epoch.
        Raises MapUnavailable when the connection fails; it never returns."""
        try:
            async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(REDIS_CHANGED_CHANNEL)
                await on_notice(b"")
                while True:
                    message = await pubsub.get_message(timeout=_LISTEN_S)
                    if message is not None:
                        await on_notice(message["data"])
        except REDIS_FAILURES as error:
            raise MapUnavailable(f"redis: {error}") from error


async def decode_aside(document: bytes) -> ShardMap:
    """Decode in a thread: a large map must not stall a loop that serves customers. Raises MapCorrupted, MapInvalid."""
    if len(document) > SNAPSHOT_BYTES_MAX:
        raise MapCorrupted("the snapshot is too large for a map")
    if len(document) < _LARGE_BYTES:
        return decode_map(document)
    return await asyncio.to_thread(decode_map, document)
