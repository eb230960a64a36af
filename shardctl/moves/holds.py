"""Hold a user where they are (a legal hold, an investigation), and let them be moved again. Who and why is recorded.

A held user trades as ever. A move that has begun goes on: `operations cancel` stops one before its hand over.
"""

from dataclasses import dataclass
from uuid import UUID

from infra.backends.backend import Backend
from shardctl.audit.recording import recorded_act
from shardctl.moves.queries import open_move_records
from shardctl.persons import os_user
from shardctl.shardmap.locate import locate_user
from shardctl.stack.current import control_dsn


@dataclass(frozen=True, slots=True)
class HoldChange:
    user_id: UUID
    held: bool
    changed: bool


async def hold_user(backend: Backend, name: str, reason: str) -> HoldChange:
    """By id or email. Harmless to repeat: who held first stays. Raises Refused, NotReachable."""
    user_id = (await locate_user(backend, name)).user_id
    act = recorded_act(backend, "users.hold", str(user_id), reason=reason)
    async with act, open_move_records(control_dsn(backend)) as records:
        return HoldChange(user_id, held=True, changed=await records.hold(user_id, os_user(), reason))


async def unhold_user(backend: Backend, name: str, reason: str) -> HoldChange:
    """Raises as `hold_user`."""
    user_id = (await locate_user(backend, name)).user_id
    act = recorded_act(backend, "users.unhold", str(user_id), reason=reason)
    async with act, open_move_records(control_dsn(backend)) as records:
        return HoldChange(user_id, held=False, changed=await records.unhold(user_id))
