"""The list of revocations in Redis: kept under a key for who starts later, pushed whole to who listens.

The list is short (an entry lives for twenty minutes), so a push carries all of it and nothing has to be asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import redis.asyncio

from infra.runtime.redis_client import REDIS_FAILURES
from infra.security.revocations import KEPT_S, decode_revocations, encode_revocations

_KEY: Final = "revocations:snapshot"
CHANNEL: Final = "revocations:changed"
_LISTEN_S: Final = 30.0
"""One wait for a notice, then it is asked again."""


class RevocationsUnavailable(Exception):
    """Redis did not answer."""


class RedisRevocations:
    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def read(self) -> dict[UUID, int]:
        """Raises `RevocationsUnavailable` or `RevocationsCorrupted`."""
        try:
            document: Any = await self._client.get(_KEY)
        except REDIS_FAILURES as error:
            raise RevocationsUnavailable(str(error)) from error
        return {} if document is None else decode_revocations(document)

    async def publish(self, entries: Mapping[UUID, int]) -> int:
        """How many listeners were notified. Raises `RevocationsUnavailable`."""
        document = encode_revocations(entries)
        try:
            await self._client.set(_KEY, document, ex=KEPT_S)
            return int(await self._client.publish(CHANNEL, document))
        except REDIS_FAILURES as error:
            raise RevocationsUnavailable(str(error)) from error

    async def listen(self, on_document: Callable[[bytes], None]) -> None:
        """Call back at every push. Raises RevocationsUnavailable when the connection fails; it never returns."""
        try:
            async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(CHANNEL)
                while True:
                    message = await pubsub.get_message(timeout=_LISTEN_S)
                    if message is not None:
                        on_document(message["data"])
        except REDIS_FAILURES as error:
            raise RevocationsUnavailable(str(error)) from error
