"""Hand the map's directory to the cells: their public keys and operator ports, as a file beside the other keys.

The control database is the truth, and the control service compares the file with it again and again, so what a crash
left out comes within seconds. Cells never read the map itself.
"""

from pathlib import Path

from infra.backends.backend import Secrets
from infra.backends.plan import own_keys
from infra.security.cell_keys import generate_cell_keys, public_keys_in, write_cell_directory
from infra.topology.shard_map import ShardMap


async def tell_cells(backend: Secrets, shard_map: ShardMap) -> None:
    """Nothing is sent if the file says it already. Raises OSError, BackendError."""
    if write_cell_directory(backend.keys_folder, shard_map.cells):
        await backend.publish_keys()


def keys_of_cell(keys_folder: Path, cell: str) -> tuple[tuple[str, str], ...]:
    """Key ids and public keys with which the cell signs, made if it has none. Raises OSError, KeyFileInvalid."""
    folder = own_keys(keys_folder, cell)
    generate_cell_keys(folder)
    return public_keys_in(folder)
