"""Where a request may be sent: the cell that owns its user, or a service that is the same for all users.

A closed sum: whoever treats the cases differently matches all of them, and mypy finds who forgot one. What is true of a
cell alone (421, a halted user's held writes, placement of new users) asks for a `CellDestination` by type.
"""

from dataclasses import dataclass
from typing import NewType, assert_never

from infra.topology.identifiers import CellId

ServiceName = NewType("ServiceName", str)


@dataclass(frozen=True, slots=True)
class CellDestination:
    """Named by the shard map, which also says which users are the cell's."""

    cell_id: CellId


@dataclass(frozen=True, slots=True)
class ServiceDestination:
    """Named by the router's wiring; it owns no user, so the map never says anything of it (market data)."""

    name: ServiceName


Destination = CellDestination | ServiceDestination


def label_of(destination: Destination) -> str:
    """As metrics and logs name it. A cell's name has no colon (`parse_cell_id`), so the two never collide."""
    match destination:
        case CellDestination(cell_id):
            return cell_id
        case ServiceDestination(name):
            return f"service:{name}"
        case _:
            assert_never(destination)
