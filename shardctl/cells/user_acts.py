"""What an operator has a user's own cell do: profile, restriction, transfers of shares; and a report judged again.

The cell does it in one transaction and keeps who and why, which its token says. It answers once: a request that was
sent and not answered raises NotReachable, and its outcome is the cell's to tell (`shardctl users show`).
"""

from typing import Any, Literal
from uuid import UUID

from shardctl.operations.resources import ACT_TIMEOUT_S, StackResources
from shardctl.shardmap.locate import require_cell


async def set_profile(on: StackResources, user_id: UUID, profile: str) -> dict[str, Any]:
    """Which limits check the user's orders. Harmless to repeat. Raises Refused, NotReachable."""
    return await _in_their_cell(on, user_id, "PUT", "profile", {"profile": profile})


async def lift_restriction(on: StackResources, user_id: UUID) -> dict[str, Any]:
    """The user trades again. Raises Refused, with the figures, while the account owes cash or shares; NotReachable."""
    return await _in_their_cell(on, user_id, "POST", "unrestrict")


async def decide_transfer(
    on: StackResources, user_id: UUID, transfer: UUID, decision: Literal["approve", "refuse"]
) -> dict[str, Any]:
    """The decision that stands, and whether it was made now. Raises Refused if it was decided otherwise before,
    NotReachable."""
    return await _in_their_cell(on, user_id, "POST", f"share-transfers/{transfer}/{decision}")


async def retry_report(on: StackResources, cell: str, report: int) -> dict[str, Any]:
    """A quarantined report is judged again. Raises Refused if there is no such report any more, NotReachable."""
    async with on.cells() as admin:
        path = f"/operator/v1/quarantine/{report}/retry"
        return await admin.call(cell, "POST", path, timeout_s=ACT_TIMEOUT_S)


async def _in_their_cell(
    on: StackResources, user_id: UUID, method: str, what: str, body: object = None
) -> dict[str, Any]:
    cell = require_cell(await on.locate(str(user_id)))
    async with on.cells() as admin:
        return await admin.call(cell, method, f"/operator/v1/users/{user_id}/{what}", body, timeout_s=ACT_TIMEOUT_S)
