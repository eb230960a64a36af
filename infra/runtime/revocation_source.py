"""The list of revocations in Redis: kept under a key for who starts later, pushed whole to who listens.

The list is short (an entry lives for twenty minutes), so a push carries all of it and nothing has to be asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import redis.asyncio
import redis.exceptions

from infra.security.revocations import KEPT_S, decode_revocations, encode_revocations

_KEY: Final = "revocations:snapshot"
_CHANNEL: Final = "revocations:changed"
_LISTEN_S: Final = 30.0


class RevocationsUnavailable(Exception):
    """Redis did not answer."""


class RedisRevocations:
    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def read(self) -> dict[UUID, int]:
        """Raises `RevocationsUnavailable` or `RevocationsCorrupted`."""
        try:
            document: Any = await self._client.get(_KEY)
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            raise RevocationsUnavailable(str(error)) from error
        return {} if document is None else decode_revocations(document)

    async def publish(self, entries: Mapping[UUID, int]) -> int:
        """How many listeners were told. Raises `RevocationsUnavailable`."""
        document = encode_revocations(entries)
        try:
            await self._client.set(_KEY, document, ex=KEPT_S)
            return int(await self._client.publish(_CHANNEL, document))
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            raise RevocationsUnavailable(str(error)) from error

    async def listen(self, on_document: Callable[[bytes], None]) -> None:
        """Call back at every push until the connection fails: `RevocationsUnavailable`."""
        try:
            async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(_CHANNEL)
                while True:
                    message = await pubsub.get_message(timeout=_LISTEN_S)
                    if message is not None:
                        on_document(message["data"])
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            raise RevocationsUnavailable(str(error)) from error
