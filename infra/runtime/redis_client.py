"""A Redis client with limits: short timeouts, few connections, no endless retry. Its users can live without it."""

import socket
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from infra.runtime.settings import RedisSettings

REDIS_FAILURES: Final = (
    RedisError, OSError, TimeoutError, ValueError, TypeError, LookupError, AttributeError, RuntimeError
)  # fmt: skip
"""What a client throws when the server is away, slow, or says what is no RESP: its parser trusts what it reads."""


def make_redis(settings: RedisSettings, *, connections_max: int = 8) -> Redis:
    """A client that connects when first used; close it with `aclose()`."""
    return Redis.from_url(
        settings.url,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        max_connections=connections_max,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
        # Who only listens would never notice that the other end is gone without a word: asked after 15 s of silence,
        # three times, 5 s apart.
        socket_keepalive=True,
        socket_keepalive_options={socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3},
        decode_responses=False,
    )
