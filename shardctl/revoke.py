"""Revoke a user's access: their access tokens become void at every router, and their sessions end in their cell.

First the control database, then a push to every router: from that moment no access or refresh token from before is
accepted. Redis may be away: routers ask the control database every few seconds. Then the cell ends the sessions. If it
does not answer, the routers refuse old refresh tokens for twenty minutes, and the error names the command that finishes
the job. A revocation is a moment, not a state: a user who has the password may log in again, and nothing is to undo.
"""

import shlex
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from infra.runtime.redis_client import make_redis
from infra.runtime.revocation_source import RedisRevocations, RevocationsUnavailable
from infra.runtime.settings import RedisSettings
from shardctl.errors import Interrupted, NotReachable, Refused
from shardctl.operations.resources import ACT_TIMEOUT_S, StackResources
from shardctl.shardmap.locate import LocatedUser, require_cell

_QUICK_S: Final = 2.0
"""The revoked moment lies five seconds ahead (`revoke_tokens_v1`). A cell that answers within two seconds has ended the
sessions before that moment, even if clocks differ; a slower one may have refreshed a token after it."""


@dataclass(frozen=True, slots=True)
class Revoked:
    user_id: UUID
    not_before_s: int
    routers_notified: int | None
    """None: Redis did not answer; routers read it in the control database within seconds."""
    cell: str
    sessions_ended: int


async def revoke_user(on: StackResources, user_id: UUID) -> Revoked:
    """Raises `Refused` and `NotReachable` with nothing done; `Interrupted` or `Refused` (the message says so) when the
    access tokens are void but the sessions could not be ended."""
    user = await on.locate(str(user_id))
    not_before_s, notified = await _void_access_tokens(on, user_id)
    asked_at_s = time.monotonic()
    ended = await _end_sessions(on, user, not_before_s)
    if time.monotonic() - asked_at_s > _QUICK_S:
        # Meanwhile a refresh may have issued an access token that is later than the revoked moment.
        not_before_s, notified = await _void_access_tokens(on, user_id)
    return Revoked(user_id, not_before_s, notified, require_cell(user), ended)


async def _void_access_tokens(on: StackResources, user_id: UUID) -> tuple[int, int | None]:
    assert on.reason is not None, "nobody is revoked without a reason"
    async with on.map_store() as store:
        not_before_s = await store.revoke_tokens(user_id, actor=on.actor, reason=on.reason)
        entries = await store.revocations()
    client = make_redis(RedisSettings(url=on.backend.addresses().redis_url))
    try:
        return not_before_s, await RedisRevocations(client).publish(entries)
    except RevocationsUnavailable:
        return not_before_s, None
    finally:
        await client.aclose()


async def _end_sessions(on: StackResources, user: LocatedUser, begun_before_s: int) -> int:
    half_done = f"the access tokens of {user.user_id} are void, but their sessions were not ended"
    again = f"run it again: `shardctl users revoke {user.user_id} --reason {shlex.quote(on.reason or '')}`"
    path = f"/operator/v1/users/{user.user_id}/sessions/end"
    try:
        async with on.cells() as admin:
            answer = await admin.call(
                require_cell(user), "POST", path, {"begun_before_s": begun_before_s}, timeout_s=ACT_TIMEOUT_S
            )
    except NotReachable as error:
        raise Interrupted(
            f"{half_done}: {error}. Routers refuse their refresh tokens for twenty minutes; {again}"
        ) from error
    except Refused as error:
        raise Refused(f"{half_done}: {error}. If the user exists, {again}") from error
    return int(answer["ended"])
