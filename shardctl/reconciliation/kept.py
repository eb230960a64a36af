"""The results of reconciliations, as the cells keep them."""

from typing import Any, Final

from infra.backends.backend import Backend
from shardctl.cell_admin import CellAdmin, open_cell_admin

_PATH: Final = "/operator/v1/reconciliations"


async def list_reconciliations(backend: Backend, cell: str, limit: int) -> list[dict[str, Any]]:
    """As `list_runs`, for the person at this terminal. Raises NotReachable, Refused, NotAllowed."""
    async with open_cell_admin(backend) as admin:
        return await list_runs(admin, cell, limit)


async def list_runs(admin: CellAdmin, cell: str, limit: int) -> list[dict[str, Any]]:
    """The last runs, newest first. Raises NotReachable, Refused."""
    page = await admin.call(cell, "GET", f"{_PATH}?limit={limit}")
    items: list[dict[str, Any]] = page["items"]
    return items
