"""What changed between two epochs, and its form on the wire: a move changes one pin, and must not push a million.

A delta fits one map only: that of its first epoch. Applied to it, it gives the map of the second epoch, and says how
many pins and which buckets that one has, so a map that went another way is noticed. Whoever has a gap takes a snapshot.
"""

import struct
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

from infra.topology.cells import Cell
from infra.topology.errors import DeltaDoesNotFit, MapCorrupted, MapInvalid
from infra.topology.identifiers import Epoch, LineageId
from infra.topology.shard_map import UNASSIGNED, ShardMap
from infra.topology.snapshot import read_directory, write_directory

MAGIC: Final = b"CELLDIFF\x01"
CHANGES_MAX: Final = 10_000
"""Owners that one delta changes; beyond it the whole map is as quick, and a delta fits any message."""
_DIGEST_BYTES: Final = 16
_HEADER: Final = struct.Struct("<16sQQIIIQ16s")
_BUCKET: Final = struct.Struct("<IH")
_PIN: Final = struct.Struct("<16sH")
_CHUNK: Final = 4_096
"""Pins compared at once, as arrays: equal pieces, nearly all, cost one comparison each."""
_LOW_64: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class MapDelta:
    """Cell numbers are those of `cells`; 0 takes a bucket or a pin away."""

    lineage: LineageId
    from_epoch: Epoch
    to_epoch: Epoch
    cells: tuple[Cell, ...]
    buckets: dict[int, int]
    pins: dict[UUID, int]
    pin_count: int
    owners_digest: bytes


def diff_maps(old: ShardMap, new: ShardMap) -> MapDelta | None:
    """From `old` to `new`; None where a snapshot says it better: another directory of cells, or too many changes."""
    if old.lineage != new.lineage or old.epoch >= new.epoch or _ids(old.cells) != _ids(new.cells):
        return None
    buckets = {}
    if old.owners != new.owners:
        buckets = {b: now for b, (then, now) in enumerate(zip(old.owners, new.owners, strict=True)) if then != now}
    pins = _changed_pins(old, new)
    if len(buckets) + len(pins) > CHANGES_MAX:
        return None
    return MapDelta(
        new.lineage, old.epoch, new.epoch, new.cells, buckets, pins, new.pin_count, _owners_digest(new.owners)
    )


def apply_delta(held: ShardMap, delta: MapDelta) -> ShardMap:
    """The map at the delta's epoch. Raises `DeltaDoesNotFit` for any other map than the one it was made for."""
    if (held.lineage, held.epoch) != (delta.lineage, delta.from_epoch):
        raise DeltaDoesNotFit(f"the delta leads from epoch {delta.from_epoch}, the map is at {held.epoch}")
    if _ids(held.cells) != _ids(delta.cells):
        raise DeltaDoesNotFit("the delta is about other cells")
    owners = array("H", held.owners)
    for bucket, number in delta.buckets.items():
        if bucket >= len(owners):
            raise MapInvalid("a bucket is out of range")
        owners[bucket] = number
    high, low, pin_owners = array("Q", held.pin_high), array("Q", held.pin_low), array("H", held.pin_owners)
    for user_id, number in delta.pins.items():
        _set_pin(high, low, pin_owners, user_id.int, number)
    if len(high) != delta.pin_count or _owners_digest(owners) != delta.owners_digest:
        raise DeltaDoesNotFit("the map that comes out is not the one that was meant")
    if any(number > len(delta.cells) for number in (*delta.buckets.values(), *delta.pins.values())):
        raise MapInvalid("the delta names a cell that is not in the directory")
    return ShardMap(
        lineage=held.lineage,
        epoch=delta.to_epoch,
        cells=delta.cells,
        owners=owners,
        pin_high=high,
        pin_low=low,
        pin_owners=pin_owners,
        pins_in_order=True,  # each was put where it belongs
    )


def encode_delta(delta: MapDelta) -> bytes:
    directory = write_directory(delta.cells)
    header = _HEADER.pack(
        delta.lineage.bytes,
        delta.from_epoch,
        delta.to_epoch,
        len(directory),
        len(delta.buckets),
        len(delta.pins),
        delta.pin_count,
        delta.owners_digest,
    )
    buckets = b"".join(_BUCKET.pack(bucket, number) for bucket, number in delta.buckets.items())
    pins = b"".join(_PIN.pack(user_id.bytes, number) for user_id, number in delta.pins.items())
    body = b"".join((header, directory, buckets, pins))
    return b"".join((MAGIC, _digest(body), body))


def decode_delta(document: bytes) -> MapDelta:
    """Raises `MapCorrupted` or `MapInvalid`."""
    body_at = len(MAGIC) + _DIGEST_BYTES
    body = document[body_at:]
    if document[: len(MAGIC)] != MAGIC or len(body) < _HEADER.size or _digest(body) != document[len(MAGIC) : body_at]:
        raise MapCorrupted("not a map delta, or its checksum does not match")
    lineage, from_epoch, to_epoch, directory_bytes, bucket_count, pin_count, pins_after, digest = _HEADER.unpack_from(
        body
    )
    buckets_at = _HEADER.size + directory_bytes
    pins_at = buckets_at + bucket_count * _BUCKET.size
    if len(body) != pins_at + pin_count * _PIN.size:
        raise MapCorrupted("length does not match the header")
    return MapDelta(
        LineageId(UUID(bytes=lineage)),
        Epoch(from_epoch),
        Epoch(to_epoch),
        read_directory(body[_HEADER.size : buckets_at]),
        dict(_BUCKET.iter_unpack(body[buckets_at:pins_at])),
        {UUID(bytes=user): number for user, number in _PIN.iter_unpack(body[pins_at:])},
        pins_after,
        digest,
    )


def _changed_pins(old: ShardMap, new: ShardMap) -> dict[UUID, int]:
    """Equal ends are passed over a chunk at a time, so one change among a million costs a comparison of arrays."""
    start, end_old, end_new = 0, old.pin_count, new.pin_count
    while start < min(end_old, end_new) and _same(old, start, new, start):
        start += _CHUNK
    start = min(start, end_old, end_new)
    while min(end_old, end_new) - start >= _CHUNK and _same(old, end_old - _CHUNK, new, end_new - _CHUNK):
        end_old, end_new = end_old - _CHUNK, end_new - _CHUNK
    then, now = _pins(old, start, end_old), _pins(new, start, end_new)
    changed = {number for number in then.keys() | now.keys() if then.get(number) != now.get(number)}
    return {UUID(int=number): now.get(number, UNASSIGNED) for number in sorted(changed)}


def _same(old: ShardMap, at_old: int, new: ShardMap, at_new: int) -> bool:
    return all(
        then[at_old : at_old + _CHUNK] == now[at_new : at_new + _CHUNK]
        for then, now in (
            (old.pin_high, new.pin_high),
            (old.pin_low, new.pin_low),
            (old.pin_owners, new.pin_owners),
        )
    )


def _pins(shard_map: ShardMap, start: int, end: int) -> dict[int, int]:
    part = slice(start, end)
    triples = zip(shard_map.pin_high[part], shard_map.pin_low[part], shard_map.pin_owners[part], strict=True)
    return {high << 64 | low: owner for high, low, owner in triples}


def _set_pin(high: "array[int]", low: "array[int]", owners: "array[int]", number: int, owner: int) -> None:
    upper, lower = number >> 64, number & _LOW_64
    at = bisect_left(high, upper)
    while at < len(high) and high[at] == upper and low[at] < lower:
        at += 1
    found = at < len(high) and high[at] == upper and low[at] == lower
    if owner == UNASSIGNED:
        if found:
            del high[at], low[at], owners[at]
    elif found:
        owners[at] = owner
    else:
        high.insert(at, upper)
        low.insert(at, lower)
        owners.insert(at, owner)


def _ids(cells: tuple[Cell, ...]) -> list[str]:
    return [cell.cell_id for cell in cells]


def _owners_digest(owners: "array[int]") -> bytes:
    return blake2b(owners.tobytes(), digest_size=16).digest()


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()
