"""Map <-> bytes, for Redis and for files.

Layout (little-endian): magic, BLAKE2b-256 of everything after it, lineage, epoch, sizes, the directory as JSON, then
the arrays as they stand in memory. Loading is a checksum and four copies, so a million pins take well under a second.
Decoding never guesses: one wrong bit, a short tail or a broken invariant raises, and the caller keeps what it has.
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
from infra.topology.shard_map import ShardMap

MAGIC: Final = b"CELLMAP\x01"
_DIGEST_BYTES: Final = 32
_HEADER: Final = struct.Struct("<16sQIIQ")  # lineage, epoch, buckets, bytes of directory, pins
_BODY_AT: Final = len(MAGIC) + _DIGEST_BYTES
VERSION_BYTES: Final = _BODY_AT + 24
"""How much of a snapshot says whose and how old it is."""
_CELLS_MAX: Final = 65_534
"""A cell's number is 16 bits, 0 means unassigned, and the last one stays free."""


def encode_map(shard_map: ShardMap) -> bytes:
    directory = write_directory(shard_map.cells)
    header = _HEADER.pack(
        shard_map.lineage.bytes, shard_map.epoch, len(shard_map.owners), len(directory), shard_map.pin_count
    )
    arrays = (shard_map.owners, shard_map.pin_high, shard_map.pin_low, shard_map.pin_owners)
    body = b"".join((header, directory, *(_little_endian(part).tobytes() for part in arrays)))
    return b"".join((MAGIC, _digest(body), body))


def read_version(head: bytes) -> tuple[LineageId, Epoch]:
    """Lineage and epoch by the first bytes, not checked against anything. Raises `MapCorrupted`."""
    if len(head) < VERSION_BYTES or head[: len(MAGIC)] != MAGIC:
        raise MapCorrupted("not a map snapshot of a format we know")
    lineage, epoch = struct.unpack_from("<16sQ", head, _BODY_AT)
    return LineageId(UUID(bytes=lineage)), Epoch(epoch)


def decode_map(document: bytes) -> ShardMap:
    """Raises `MapCorrupted` for damaged bytes and `MapInvalid` for a whole snapshot that says nonsense."""
    view = memoryview(document)
    if len(view) < _BODY_AT + _HEADER.size or document[: len(MAGIC)] != MAGIC:
        raise MapCorrupted("not a map snapshot of a format we know")
    body = view[_BODY_AT:]
    if _digest(body) != document[len(MAGIC) : _BODY_AT]:
        raise MapCorrupted("checksum does not match")
    lineage, epoch, bucket_count, directory_bytes, pin_count = _HEADER.unpack_from(body)
    if bucket_count != BUCKET_COUNT:
        raise MapInvalid(f"{bucket_count} buckets instead of {BUCKET_COUNT}")
    arrays_at = _HEADER.size + directory_bytes
    if len(body) != arrays_at + 2 * bucket_count + 18 * pin_count:
        raise MapCorrupted("length does not match the header")
    cells = read_directory(bytes(body[_HEADER.size : arrays_at]))
    parts, position = [], arrays_at
    for typecode, count in (("H", bucket_count), ("Q", pin_count), ("Q", pin_count), ("H", pin_count)):
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
    }


def read_directory(document: bytes) -> tuple[Cell, ...]:
    """Cells in order of their numbers. Raises MapInvalid."""
    try:
        rows = json.loads(document)
        cells = tuple(
            Cell(
                cell_id=CellId(row["cell_id"]),
                state=CellState(row["state"]),
                weight=row["weight"],
                api_urls=tuple(row["api_urls"]),
                operator_urls=tuple(row["operator_urls"]),
            )
            for row in rows
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MapInvalid("the directory of cells cannot be read") from error
    if len(cells) > _CELLS_MAX:
        raise MapInvalid(f"{len(cells)} cells are more than a cell number can name")
    return cells
