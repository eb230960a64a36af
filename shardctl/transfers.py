"""Transfers of shares that wait for a decision, decided in the user's own cell.

A decision is made once, in one transaction of the user's cell; repeating the same decision changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from infra.backends.backend import Backend
from infra.security.roles import Role
from shardctl.audit.recording import recorded_act
from shardctl.cell_admin import open_cell_admin
from shardctl.operator_tokens import Purpose
from shardctl.shardmap.locate import locate_user, require_cell


async def decide(
    backend: Backend, user: str, transfers: Sequence[str], *, approve: bool, reason: str
) -> list[dict[str, Any]]:
    """The decisions that stand, and whether each was made now, one after the other. Raises Refused at the first one
    that was decided otherwise before; those before it stand, and repeating them is harmless. Raises NotReachable,
    NotAllowed, UsageError."""
    located = await locate_user(backend, user)
    verb = "approve" if approve else "refuse"
    cell = require_cell(located)
    decided = []
    purpose = Purpose(f"{verb}_transfer", str(located.user_id), Role.OPERATOR, reason)
    async with open_cell_admin(backend, purpose) as admin:
        for transfer in transfers:
            path = f"/operator/v1/users/{located.user_id}/share-transfers/{transfer}/{verb}"
            async with recorded_act(
                backend,
                f"transfers.{verb}",
                str(located.user_id),
                reason=reason,
                arguments={"transfer": transfer},
            ):
                decided.append(await admin.call(cell, "POST", path))
    return decided
