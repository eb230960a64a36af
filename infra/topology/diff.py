"""What changed between two epochs, and its form on the wire: a move changes one pin, and must not push a million.

A delta fits one map only: that of its first epoch. Applied to it, it gives the map of the second epoch, and says how
many pins and which buckets that one has, so a map that went another way is noticed. Whoever has a gap takes a snapshot.

As with snapshots there are two formats: between maps that both have ownership epochs, each change carries its own.
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
from infra.topology.ownership_epochs import OwnershipEpochs
from infra.topology.shard_map import UNASSIGNED, ShardMap
from infra.topology.snapshot import read_directory, write_directory

MAGICS: Final = {1: b"CELLDIFF\x01", 2: b"CELLDIFF\x02"}
"""By format: eight letters and the format's number."""
_MAGIC_BYTES: Final = 9
CHANGES_MAX: Final = 10_000
"""Owners that one delta changes; beyond it the whole map is as quick, and a delta fits any message."""
_DIGEST_BYTES: Final = 16
"""Against damage, as at the end of a snapshot."""
_HEADER: Final = struct.Struct("<16sQQIIIQ16s")
_BUCKET: Final = struct.Struct("<IH")
_PIN: Final = struct.Struct("<16sH")
_OWNERSHIP: Final = struct.Struct("<Q")
_CHUNK: Final = 4_096
"""Pins compared at once, as arrays: equal pieces, nearly all, cost one comparison each."""
_LOW_64: Final = (1 << 64) - 1
"""A UUID's lower half: the two halves lie in arrays of 64 bits."""


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
    ownership: tuple[dict[int, int], dict[UUID, int]] | None = None
    """Ownership epochs of the same buckets and pins, in the same order; 0 for a pin that goes. None: format 1."""


def diff_maps(old: ShardMap, new: ShardMap) -> MapDelta | None:
    """From `old` to `new`; None where a snapshot says it better: another directory of cells, or too many changes."""
    if old.lineage != new.lineage or old.epoch >= new.epoch or _ids(old.cells) != _ids(new.cells):
        return None
    if (old.ownership is None) != (new.ownership is None):
        return None
    buckets = _changed_buckets(old, new)
    pins = _changed_pins(old, new)
    if len(buckets) + len(pins) > CHANGES_MAX:
        return None
    ownership = None
    if new.ownership is not None:
        ownership = (
            {bucket: new.ownership.buckets[bucket] for bucket in buckets},
            {user: new.ownership_epoch(user) if number != UNASSIGNED else 0 for user, number in pins.items()},
        )
    digest = _owners_digest(new.owners)
    return MapDelta(new.lineage, old.epoch, new.epoch, new.cells, buckets, pins, new.pin_count, digest, ownership)


def apply_delta(held: ShardMap, delta: MapDelta) -> ShardMap:
    """The map at the delta's epoch. Raises `DeltaDoesNotFit` for any other map than the one it was made for.

    Looked at before: lineage, epoch, directory of cells and format. Looked at after: the number of pins and a digest of
    all buckets' owners, so a delta that was made wrongly, or a map that is not what its epoch says, is found too. The
    held map is never changed: readers have it meanwhile. Raises `MapInvalid` for what no map can be.
    """
    if (held.lineage, held.epoch) != (delta.lineage, delta.from_epoch):
        raise DeltaDoesNotFit(f"the delta leads from epoch {delta.from_epoch}, the map is at {held.epoch}")
    if _ids(held.cells) != _ids(delta.cells):
        raise DeltaDoesNotFit("the delta is about other cells")
    if (held.ownership is None) != (delta.ownership is None):
        raise DeltaDoesNotFit("one of map and delta has ownership epochs, and the other has none")
    owners = array("H", held.owners)
    for bucket, number in delta.buckets.items():
        if bucket >= len(owners):
            raise MapInvalid("a bucket is out of range")
        owners[bucket] = number
    high, low, pin_owners = array("Q", held.pin_high), array("Q", held.pin_low), array("H", held.pin_owners)
    pin_epochs = array("Q") if held.ownership is None else array("Q", held.ownership.pins)
    epoch_of = {} if delta.ownership is None else delta.ownership[1]
    for user_id, number in delta.pins.items():
        at, was_there = _find_pin(high, low, user_id.int)
        columns = [(high, user_id.int >> 64), (low, user_id.int & _LOW_64), (pin_owners, number)]
        if delta.ownership is not None:
            columns.append((pin_epochs, epoch_of[user_id]))
        _set_row(columns, at, was_there=was_there, goes=number == UNASSIGNED)
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
        ownership=_owned_since(held, delta, pin_epochs),
        pins_in_order=True,  # each was put where it belongs
    )


def _owned_since(held: ShardMap, delta: MapDelta, pins: "array[int]") -> OwnershipEpochs | None:
    if held.ownership is None or delta.ownership is None:
        return None
    buckets = array("Q", held.ownership.buckets)
    for bucket, epoch in delta.ownership[0].items():
        buckets[bucket] = epoch
    return OwnershipEpochs(buckets, pins)


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
    parts = [header, directory, buckets, pins]
    if delta.ownership is not None:
        parts += [_OWNERSHIP.pack(epoch) for column in delta.ownership for epoch in column.values()]
    body = b"".join(parts)
    return b"".join((MAGICS[1 if delta.ownership is None else 2], _digest(body), body))


def decode_delta(document: bytes) -> MapDelta:
    """Raises `MapCorrupted` or `MapInvalid`."""
    body_at = _MAGIC_BYTES + _DIGEST_BYTES
    magic, body = document[:_MAGIC_BYTES], document[body_at:]
    if magic not in MAGICS.values() or len(body) < _HEADER.size or _digest(body) != document[_MAGIC_BYTES:body_at]:
        raise MapCorrupted("not a map delta, or its checksum does not match")
    lineage, from_epoch, to_epoch, directory_bytes, bucket_count, pin_count, pins_after, digest = _HEADER.unpack_from(
        body
    )
    buckets_at = _HEADER.size + directory_bytes
    pins_at = buckets_at + bucket_count * _BUCKET.size
    epochs_at = pins_at + pin_count * _PIN.size
    epochs = (bucket_count + pin_count) * _OWNERSHIP.size if magic == MAGICS[2] else 0
    if len(body) != epochs_at + epochs:
        raise MapCorrupted("length does not match the header")
    buckets = dict(_BUCKET.iter_unpack(body[buckets_at:pins_at]))
    pins = {UUID(bytes=user): number for user, number in _PIN.iter_unpack(body[pins_at:epochs_at])}
    ownership = None
    if magic == MAGICS[2]:
        owned_since = [epoch for (epoch,) in _OWNERSHIP.iter_unpack(body[epochs_at:])]
        ownership = (
            dict(zip(buckets, owned_since[:bucket_count], strict=True)),
            dict(zip(pins, owned_since[bucket_count:], strict=True)),
        )
    return MapDelta(
        LineageId(UUID(bytes=lineage)),
        Epoch(from_epoch),
        Epoch(to_epoch),
        read_directory(body[_HEADER.size : buckets_at]),
        buckets,
        pins,
        pins_after,
        digest,
        ownership,
    )


def _changed_buckets(old: ShardMap, new: ShardMap) -> dict[int, int]:
    """Another owner, or the same one since another ownership epoch."""
    changed: set[int] = set()
    if old.owners != new.owners:
        changed.update(b for b, (then, now) in enumerate(zip(old.owners, new.owners, strict=True)) if then != now)
    if old.ownership is not None and new.ownership is not None and old.ownership.buckets != new.ownership.buckets:
        pairs = zip(old.ownership.buckets, new.ownership.buckets, strict=True)
        changed.update(b for b, (then, now) in enumerate(pairs) if then != now)
    return {bucket: new.owners[bucket] for bucket in sorted(changed)}


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
    return {UUID(int=number): now.get(number, (UNASSIGNED, 0))[0] for number in sorted(changed)}


def _pin_columns(shard_map: ShardMap) -> tuple["array[int]", ...]:
    columns = (shard_map.pin_high, shard_map.pin_low, shard_map.pin_owners)
    return columns if shard_map.ownership is None else (*columns, shard_map.ownership.pins)


def _same(old: ShardMap, at_old: int, new: ShardMap, at_new: int) -> bool:
    return all(
        then[at_old : at_old + _CHUNK] == now[at_new : at_new + _CHUNK]
        for then, now in zip(_pin_columns(old), _pin_columns(new), strict=True)
    )


def _pins(shard_map: ShardMap, start: int, end: int) -> dict[int, tuple[int, int]]:
    """User to cell number and ownership epoch; 0 where the map has none."""
    part = slice(start, end)
    epochs = bytes(end - start) if shard_map.ownership is None else shard_map.ownership.pins[part]
    rows = zip(shard_map.pin_high[part], shard_map.pin_low[part], shard_map.pin_owners[part], epochs, strict=True)
    return {high << 64 | low: (owner, epoch) for high, low, owner, epoch in rows}


def _find_pin(high: "array[int]", low: "array[int]", number: int) -> tuple[int, bool]:
    """Where the user's pin is, or where it belongs, and whether it is there."""
    upper, lower = number >> 64, number & _LOW_64
    at = bisect_left(high, upper)
    while at < len(high) and high[at] == upper and low[at] < lower:
        at += 1
    return at, at < len(high) and high[at] == upper and low[at] == lower


def _set_row(columns: list[tuple["array[int]", int]], at: int, *, was_there: bool, goes: bool) -> None:
    for column, value in columns:
        if goes:
            if was_there:
                del column[at]
        elif was_there:
            column[at] = value
        else:
            column.insert(at, value)


def _ids(cells: tuple[Cell, ...]) -> list[str]:
    return [cell.cell_id for cell in cells]


def _owners_digest(owners: "array[int]") -> bytes:
    return blake2b(owners.tobytes(), digest_size=16).digest()


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()
