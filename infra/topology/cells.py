"""A cell as other processes see it: its name, whether it takes new users, and where its servers listen."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from infra.topology.identifiers import CellId, parse_cell_id

_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PUBLIC_KEY: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
"""32 bytes; the last letter holds four bits of them, and two that are zero."""


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
    signing_keys: tuple[tuple[str, str], ...] = ()
    """Key id and Ed25519 public key (base 64, URL alphabet, no padding) of all keys with which the cell signs or ever
    signed: a certificate is valid for ever."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        parse_cell_id(self.cell_id)
        if not 0 <= self.weight <= 1_000_000:
            raise ValueError(f"weight of {self.cell_id} out of range: {self.weight}")
        for url in (*self.api_urls, *self.operator_urls):
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"address of {self.cell_id} is not an http URL: {url!r}")
        for key_id, public_key in self.signing_keys:
            if not (_KEY_ID.fullmatch(key_id) and _PUBLIC_KEY.fullmatch(public_key)):
                raise ValueError(f"signing key {key_id[:64]!r} of {self.cell_id} is not an Ed25519 public key")
