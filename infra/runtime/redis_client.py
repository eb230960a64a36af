"""A Redis client with limits: short timeouts, few connections, no endless retry. Its users can live without it."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from infra.runtime.settings import RedisSettings


def make_redis(settings: RedisSettings, *, connections_max: int = 8) -> Redis:
    """A client that connects when first used; close it with `aclose()`."""
    return Redis.from_url(
        settings.url,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        max_connections=connections_max,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
        decode_responses=False,
    )
