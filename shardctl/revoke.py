"""Make a user's access tokens void everywhere: the control database first, then a push to every router.

Redis may be away: routers ask the control database every few seconds. Refresh tokens belong to the user's cell and are
not touched here.
"""

from dataclasses import dataclass
from uuid import UUID

from infra.backends.local.backend import LocalBackend
from infra.runtime.redis_client import make_redis
from infra.runtime.revocation_source import RedisRevocations, RevocationsUnavailable
from infra.runtime.settings import RedisSettings
from shardctl.shardmap.locate import locate_user
from shardctl.shardmap.store import open_store
from shardctl.stack.current import actor, control_dsn


@dataclass(frozen=True, slots=True)
class Revoked:
    user_id: UUID
    not_before_s: int
    routers_told: int | None
    """None: Redis did not answer; routers find out by themselves within seconds."""


async def revoke_tokens(backend: LocalBackend, name: str, reason: str) -> Revoked:
    user_id = (await locate_user(backend, name)).user_id
    async with open_store(control_dsn(backend)) as store:
        not_before_s = await store.revoke_tokens(user_id, actor=actor(), reason=reason)
        entries = await store.revocations()
    client = make_redis(RedisSettings(url=backend.addresses().redis_url))
    try:
        told: int | None = await RedisRevocations(client).publish(entries)
    except RevocationsUnavailable:
        told = None
    finally:
        await client.aclose()
    return Revoked(user_id, not_before_s, told)
