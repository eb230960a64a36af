"""Each cell's own Ed25519 keys, with which it certifies who has left it, and the directory of all cells' public ones.

A cell is given a folder of its own with two files: the ring that signs, and its public half. The directory is one file
beside the other keys, for every process that verifies certificates: of each cell all public keys that it ever had, and
where its operator ports are, so a cell can tell another one something while the control service is dead. It is written
from the map's directory, whose truth is the control database, and it never comes through Redis: whoever can write there
must not be able to wake a user in two cells.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra.security.keys import (
    CERTIFICATE_SIGNING_FILE,
    CERTIFICATE_VERIFY_FILE,
    FollowedRing,
    KeyFileInvalid,
    SigningRing,
    encode_secret,
    follow_signing_ring,
    generate_signer_files,
    load_verify_ring,
)
from infra.security.rotation import replace_key_file
from infra.security.signed_document import PublicKeys, public_keys_of
from infra.topology.cells import Cell
from infra.topology.errors import MapInvalid
from infra.topology.identifiers import CellId
from infra.topology.snapshot import read_directory, write_directory

DIRECTORY_FILE: Final = "cell-directory.json"
"""In the folder of all processes' keys."""


def generate_cell_keys(folder: Path) -> None:
    """Make the two files of one cell unless they are there. Harmless to repeat, also at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    generate_signer_files(folder / CERTIFICATE_SIGNING_FILE, folder / CERTIFICATE_VERIFY_FILE)


def public_keys_in(folder: Path) -> tuple[tuple[str, str], ...]:
    """Key ids with public keys, as the map's directory carries them. Raises KeyFileInvalid."""
    keys = load_verify_ring(folder / CERTIFICATE_VERIFY_FILE).keys
    return tuple(sorted((key_id, encode_secret(key.public_bytes_raw())) for key_id, key in keys.items()))


def follow_cell_keys(folder: Path) -> FollowedRing[SigningRing]:
    """The cell's own ring, as `certificate.CertificateSigner` wants it. Raises KeyFileInvalid."""
    return follow_signing_ring(folder / CERTIFICATE_SIGNING_FILE)


def write_cell_directory(keys_folder: Path, cells: tuple[Cell, ...]) -> bool:
    """Whole or not at all; whether it was another one before. Raises OSError."""
    path = keys_folder / DIRECTORY_FILE
    with suppress(KeyFileInvalid):  # a damaged one is replaced
        if _load_directory(path) == cells:
            return False
    replace_key_file(path, json.loads(write_directory(cells)))
    return True


def follow_public_keys(keys_folder: Path) -> FollowedRing[PublicKeys]:
    """All cells' public keys, as `certificate.CertificateVerifier` wants them. Raises KeyFileInvalid."""
    return FollowedRing(keys_folder / DIRECTORY_FILE, _load_public_keys)


def follow_operator_urls(keys_folder: Path) -> FollowedRing[Mapping[CellId, tuple[str, ...]]]:
    """Where each cell's app servers listen for operators and for other cells. Raises KeyFileInvalid."""
    return FollowedRing(keys_folder / DIRECTORY_FILE, _load_operator_urls)


def _load_public_keys(path: Path) -> PublicKeys:
    try:
        return public_keys_of(_load_directory(path))
    except ValueError as error:
        raise KeyFileInvalid(f"{path} holds a key that is none: {error}") from error


def _load_operator_urls(path: Path) -> Mapping[CellId, tuple[str, ...]]:
    return {cell.cell_id: cell.operator_urls for cell in _load_directory(path)}


def _load_directory(path: Path) -> tuple[Cell, ...]:
    """Empty before the first cell is in the map."""
    try:
        return read_directory(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, MapInvalid) as error:
        raise KeyFileInvalid(f"{path} cannot be read as a directory of cells: {error}") from error
