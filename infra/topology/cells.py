"""A cell as other processes see it: its name, whether it takes new users, and where its servers listen."""

from dataclasses import dataclass
from enum import StrEnum

from infra.topology.identifiers import CellId, parse_cell_id


class CellState(StrEnum):
    OPEN = "open"  # serves its users and takes new ones
    CORDONED = "cordoned"  # serves its users, takes no new ones
    DRAINING = "draining"  # as cordoned, while its users are being moved out
    RETIRED = "retired"  # owns nobody; kept in the directory for its history


@dataclass(frozen=True, slots=True)
class Cell:
    cell_id: CellId
    state: CellState = CellState.OPEN
    weight: int = 100
    """Share of new users beside the other open cells'; 100 is usual, 0 takes none."""
    api_urls: tuple[str, ...] = ()
    operator_urls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError."""
        parse_cell_id(self.cell_id)
        if not 0 <= self.weight <= 1_000_000:
            raise ValueError(f"weight of {self.cell_id} out of range: {self.weight}")
        for url in (*self.api_urls, *self.operator_urls):
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"address of {self.cell_id} is not an http URL: {url!r}")
