"""Map <-> bytes, for Redis and for files.

Layout (little-endian): magic, BLAKE2b-256 of everything after it, lineage, epoch, sizes, the directory as JSON, then
the arrays as they stand in memory. Loading is a checksum and four copies, so a million pins take well under a second.
Decoding never guesses: one wrong bit, a short tail or a broken invariant raises, and the caller keeps what it has.

Two formats. The second has the ownership epochs of buckets and pins behind the other arrays (8 bytes each). Both are
read; a map that has ownership epochs is written in the second (infra/README.md says why no release lies in between). A
reader of the directory passes over what it does not know, and does without what an older release did not write.
"""

import json
import struct
import sys
from array import array
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from infra.topology.bucketing import BUCKET_COUNT
from infra.topology.cells import Cell, CellState
from infra.topology.errors import MapCorrupted, MapInvalid
from infra.topology.identifiers import CellId, Epoch, LineageId
from infra.topology.ownership_epochs import OwnershipEpochs
from infra.topology.shard_map import ShardMap

MAGICS: Final = {1: b"CELLMAP\x01", 2: b"CELLMAP\x02"}
"""By format: seven letters and the format's number."""
_MAGIC_BYTES: Final = 8
_DIGEST_BYTES: Final = 32
"""BLAKE2b of 256 bits over everything before it: against damage on the way and on disk."""
_HEADER: Final = struct.Struct("<16sQIIQ")  # lineage, epoch, buckets, bytes of directory, pins
_BODY_AT: Final = _MAGIC_BYTES + _DIGEST_BYTES
VERSION_BYTES: Final = _BODY_AT + 24
"""How much of a snapshot says whose and how old it is."""
_CELLS_MAX: Final = 65_534
"""A cell's number is 16 bits, 0 means unassigned, and the last one stays free."""


def encode_map(shard_map: ShardMap) -> bytes:
    """Of format 2 if it has ownership epochs, else of format 1."""
    ownership = shard_map.ownership
    directory = write_directory(shard_map.cells)
    header = _HEADER.pack(
        shard_map.lineage.bytes, shard_map.epoch, len(shard_map.owners), len(directory), shard_map.pin_count
    )
    arrays = [shard_map.owners, shard_map.pin_high, shard_map.pin_low, shard_map.pin_owners]
    if ownership is not None:
        arrays += [ownership.buckets, ownership.pins]
    body = b"".join((header, directory, *(_little_endian(part).tobytes() for part in arrays)))
    return b"".join((MAGICS[1 if ownership is None else 2], _digest(body), body))


def read_version(head: bytes) -> tuple[LineageId, Epoch]:
    """Lineage and epoch by the first bytes, not checked against anything. Raises `MapCorrupted`."""
    if len(head) < VERSION_BYTES or head[:_MAGIC_BYTES] not in MAGICS.values():
        raise MapCorrupted("not a map snapshot of a format we know")
    lineage, epoch = struct.unpack_from("<16sQ", head, _BODY_AT)
    return LineageId(UUID(bytes=lineage)), Epoch(epoch)


def decode_map(document: bytes) -> ShardMap:
    """Raises `MapCorrupted` for damaged bytes and `MapInvalid` for a whole snapshot that says nonsense."""
    view = memoryview(document)
    if len(view) < _BODY_AT + _HEADER.size or document[:_MAGIC_BYTES] not in MAGICS.values():
        raise MapCorrupted("not a map snapshot of a format we know")
    body = view[_BODY_AT:]
    has_ownership = document[:_MAGIC_BYTES] == MAGICS[2]
    if _digest(body) != document[_MAGIC_BYTES:_BODY_AT]:
        raise MapCorrupted("checksum does not match")
    lineage, epoch, bucket_count, directory_bytes, pin_count = _HEADER.unpack_from(body)
    if bucket_count != BUCKET_COUNT:
        raise MapInvalid(f"{bucket_count} buckets instead of {BUCKET_COUNT}")
    arrays_at = _HEADER.size + directory_bytes
    counts = [("H", bucket_count), ("Q", pin_count), ("Q", pin_count), ("H", pin_count)]
    if has_ownership:
        counts += [("Q", bucket_count), ("Q", pin_count)]
    if len(body) != arrays_at + sum(array(typecode).itemsize * count for typecode, count in counts):
        raise MapCorrupted("length does not match the header")
    cells = read_directory(bytes(body[_HEADER.size : arrays_at]))
    parts, position = [], arrays_at
    for typecode, count in counts:
        part = array(typecode)
        end = position + count * part.itemsize
        part.frombytes(body[position:end])
        parts.append(_little_endian(part))
        position = end
    return ShardMap(
        lineage=LineageId(UUID(bytes=lineage)),
        epoch=Epoch(epoch),
        cells=cells,
        owners=parts[0],
        pin_high=parts[1],
        pin_low=parts[2],
        pin_owners=parts[3],
        ownership=OwnershipEpochs(parts[4], parts[5]) if has_ownership else None,
    )


def _digest(body: bytes | memoryview) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()


def _little_endian(part: "array[int]") -> "array[int]":
    if sys.byteorder == "little":
        return part
    swapped = array(part.typecode, part)
    swapped.byteswap()
    return swapped


def write_directory(cells: tuple[Cell, ...]) -> bytes:
    return json.dumps([_cell_to_json(cell) for cell in cells], separators=(",", ":")).encode()


def _cell_to_json(cell: Cell) -> dict[str, Any]:
    return {
        "cell_id": cell.cell_id,
        "state": cell.state.value,
        "weight": cell.weight,
        "api_urls": list(cell.api_urls),
        "operator_urls": list(cell.operator_urls),
        "signing_keys": dict(cell.signing_keys),
    }


def read_directory(document: bytes) -> tuple[Cell, ...]:
    """Cells in order of their numbers. Raises MapInvalid."""
    try:
        rows = json.loads(document)
    except ValueError as error:
        raise MapInvalid("the directory of cells cannot be read") from error
    return cells_from_json(rows)


def cells_from_json(rows: Any) -> tuple[Cell, ...]:
    """The same from JSON that is read already. Raises MapInvalid."""
    if type(rows) is not list:
        raise MapInvalid("the directory of cells is no list")
    try:
        cells = tuple(
            Cell(
                cell_id=CellId(row["cell_id"]),
                state=CellState(row["state"]),
                weight=row["weight"],
                api_urls=tuple(row["api_urls"]),
                operator_urls=tuple(row["operator_urls"]),
                signing_keys=tuple(sorted(row.get("signing_keys", {}).items())),
            )
            for row in rows
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MapInvalid("the directory of cells cannot be read") from error
    if len(cells) > _CELLS_MAX:
        raise MapInvalid(f"{len(cells)} cells are more than a cell number can name")
    return cells
