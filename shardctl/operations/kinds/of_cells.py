"""What kinds have in common that work on one cell or on each: the arguments, the facts, which cells are meant."""

from shardctl.errors import Refused
from shardctl.operations.plan import Document
from shardctl.operations.resources import StackResources


def parse_cells(arguments: Document) -> Document:
    """`cell`: its name; None: every cell."""
    return {"cell": arguments.get("cell")}


async def known_cells(resources: StackResources, _: Document) -> Document:
    return {"cells": [cell.name for cell in resources.backend.spec().cells]}


def cells_named(arguments: Document, facts: Document) -> tuple[str, ...]:
    """Raises Refused for a name that no cell has."""
    known, wanted = facts["cells"], arguments["cell"]
    if wanted is not None and wanted not in known:
        raise Refused(f"there is no cell {wanted}; there are: {', '.join(known)}")
    return tuple(known) if wanted is None else (wanted,)
