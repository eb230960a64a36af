"""Transfers of shares that wait for a decision, as the cells have them now."""

from typing import Any

from infra.backends.backend import Backend
from shardctl.cell_admin import open_cell_admin


async def list_waiting(backend: Backend, cells: tuple[str, ...]) -> list[dict[str, Any]]:
    """What waits in these cells, oldest first within each. Raises NotAllowed, and NotReachable for a
    cell that does not answer."""
    rows: list[dict[str, Any]] = []
    async with open_cell_admin(backend) as admin:
        for cell in cells:
            rows += [{"cell": cell, **item} async for item in admin.rows(cell, "/operator/v1/share-transfers")]
    return rows
