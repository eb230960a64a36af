"""The whole map at one epoch: bucket -> cell, pins (user -> cell), and the directory of cells.

Immutable, so any number of readers may hold it while a newer one replaces it. A lookup is pure, costs about a
microsecond and does no I/O. Users are never sent to a default: an unassigned bucket locates nobody.

One million pins must be cheap to hold and to load, so they are two sorted arrays of 64-bit halves of the user id and
one array of cell numbers (18 bytes per pin), searched by bisection in C, not a dictionary of objects.
"""

import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import le
from typing import Any, Final
from uuid import UUID

from infra.topology.bucketing import BUCKET_COUNT, bucket_of
from infra.topology.cells import Cell
from infra.topology.errors import MapInvalid
from infra.topology.identifiers import BucketId, CellId, Epoch, LineageId
from infra.topology.ownership_epochs import OwnershipEpochs

UNASSIGNED: Final = 0
"""The number that stands for no cell, in `owners` and in `pin_owners`."""
_LOW_64: Final = (1 << 64) - 1
"""A UUID's lower half: the two halves lie in arrays of 64 bits."""


class ShardMap:
    """`owners[bucket]` and `pin_owners[i]` are cell numbers: 0 means unassigned, n means `cells[n - 1]`."""

    __slots__ = (
        "_by_id",
        "_by_number",
        "cells",
        "epoch",
        "lineage",
        "owners",
        "ownership",
        "pin_high",
        "pin_low",
        "pin_owners",
    )

    def __init__(
        self,
        *,
        lineage: LineageId,
        epoch: Epoch,
        cells: tuple[Cell, ...],
        owners: "array[int]",
        pin_high: "array[int]",
        pin_low: "array[int]",
        pin_owners: "array[int]",
        ownership: OwnershipEpochs | None = None,
        pins_in_order: bool = False,
    ) -> None:
        self.lineage = lineage
        self.epoch = epoch
        self.cells = cells
        self.owners = owners
        self.pin_high = pin_high
        self.pin_low = pin_low
        self.pin_owners = pin_owners
        self.ownership = ownership
        self._by_number: tuple[Cell | None, ...] = (None, *cells)
        self._by_id = {cell.cell_id: cell for cell in cells}
        self._check(pins_in_order)

    def _check(self, pins_in_order: bool) -> None:
        if self.epoch < 0:
            raise MapInvalid(f"epoch is negative: {self.epoch}")
        if len(self._by_id) != len(self.cells):
            raise MapInvalid("a cell stands twice in the directory")
        if len(self.owners) != BUCKET_COUNT:
            raise MapInvalid(f"{len(self.owners)} buckets instead of {BUCKET_COUNT}")
        if not len(self.pin_high) == len(self.pin_low) == len(self.pin_owners):
            raise MapInvalid("the arrays of pins differ in length")
        if max(self.owners) > len(self.cells):
            raise MapInvalid("a bucket belongs to a cell that is not in the directory")
        if self.pin_owners:
            if max(self.pin_owners) > len(self.cells) or min(self.pin_owners) == UNASSIGNED:
                raise MapInvalid("a pin names a cell that is not in the directory")
            if not pins_in_order:
                self._check_pin_order()
        if self.ownership is not None:
            self.ownership.check(BUCKET_COUNT, self.pin_count)

    def _check_pin_order(self) -> None:
        high = self.pin_high
        if not all(map(le, high, islice(high, 1, None))):
            raise MapInvalid("pins are not sorted")
        low = self.pin_low
        if len(set(high)) != len(high):  # rare: users whose ids share their first half
            for i in range(len(high) - 1):
                if high[i] == high[i + 1] and low[i] >= low[i + 1]:
                    raise MapInvalid("pins are not sorted, or a user is pinned twice")

    def locate(self, user_id: UUID) -> Cell | None:
        """The owner by this map: the pin if there is one, else the bucket's cell, else nobody."""
        if self.pin_high:
            pinned = self._pinned(user_id.int)
            if pinned is not None:
                return pinned
        return self._by_number[self.owners[bucket_of(user_id)]]

    def ownership_epoch(self, user_id: UUID) -> Epoch:
        """Since when the owner by this map is the owner: the pin's, else the bucket's; of a map that has none its own
        epoch."""
        if self.ownership is None:
            return self.epoch
        at = self._pin_at(user_id.int)
        if at is not None:
            return Epoch(self.ownership.pins[at])
        return Epoch(self.ownership.buckets[bucket_of(user_id)])

    def _pinned(self, number: int) -> Cell | None:
        at = self._pin_at(number)
        return None if at is None else self._by_number[self.pin_owners[at]]

    def _pin_at(self, number: int) -> int | None:
        high, low = number >> 64, number & _LOW_64
        highs = self.pin_high
        i = bisect_left(highs, high)
        while i < len(highs) and highs[i] == high:
            if self.pin_low[i] == low:
                return i
            i += 1
        return None

    def cell(self, cell_id: str) -> Cell | None:
        return self._by_id.get(CellId(cell_id))

    def is_pinned(self, user_id: UUID) -> bool:
        return self._pinned(user_id.int) is not None

    def bucket_owner(self, bucket: BucketId) -> Cell | None:
        return self._by_number[self.owners[bucket]]

    def bucket_counts(self) -> dict[CellId, int]:
        counts = [0] * (len(self.cells) + 1)
        for number in self.owners:
            counts[number] += 1
        return {cell.cell_id: counts[number] for number, cell in enumerate(self.cells, 1)}

    def pins(self) -> Iterator[tuple[UUID, CellId]]:
        for high, low, number in zip(self.pin_high, self.pin_low, self.pin_owners, strict=True):
            yield UUID(int=high << 64 | low), self.cells[number - 1].cell_id

    def describe(self) -> dict[str, Any]:
        """Facts for people and JSON; sizes, not contents."""
        buckets, pins = self.bucket_counts(), Counter(self.pin_owners)
        return {
            "lineage": str(self.lineage),
            "epoch": self.epoch,
            "cells": [
                {
                    "cell": str(cell.cell_id),
                    "state": cell.state.value,
                    "weight": cell.weight,
                    "buckets": buckets[cell.cell_id],
                    "pins": pins[number],
                    "api_urls": list(cell.api_urls),
                    "operator_urls": list(cell.operator_urls),
                }
                for number, cell in enumerate(self.cells, 1)
            ],
            "buckets_unassigned": self.owners.count(UNASSIGNED),
            "pins": self.pin_count,
        }

    @property
    def pin_count(self) -> int:
        return len(self.pin_high)

    @property
    def size_bytes(self) -> int:
        parts = [self.owners, self.pin_high, self.pin_low, self.pin_owners]
        if self.ownership is not None:
            parts += [self.ownership.buckets, self.ownership.pins]
        return sum(sys.getsizeof(part) for part in parts)


def build_map(
    *,
    lineage: UUID,
    epoch: int,
    cells: Iterable[Cell],
    buckets: Mapping[int, str],
    pins: Iterable[tuple[UUID, str]] = (),
    ownership: OwnershipEpochs | None = None,
) -> ShardMap:
    """Make a map from names, as the control database keeps them. Pins may come in any order; their ownership epochs are
    in that of the users' ids. Raises MapInvalid."""
    directory = tuple(sorted(cells, key=lambda cell: cell.cell_id))
    numbers = {str(cell.cell_id): number for number, cell in enumerate(directory, 1)}
    owners = array("H", bytes(2 * BUCKET_COUNT))
    try:
        for bucket, cell_id in buckets.items():
            owners[bucket] = numbers[cell_id]
        rows = sorted((user_id.int, numbers[cell_id]) for user_id, cell_id in pins)
    except KeyError as error:
        raise MapInvalid(f"unknown cell: {error}") from error
    except IndexError as error:
        raise MapInvalid("a bucket is out of range") from error
    return ShardMap(
        lineage=LineageId(lineage),
        epoch=Epoch(epoch),
        cells=directory,
        owners=owners,
        pin_high=array("Q", (number >> 64 for number, _ in rows)),
        pin_low=array("Q", (number & _LOW_64 for number, _ in rows)),
        pin_owners=array("H", (owner for _, owner in rows)),
        ownership=ownership,
    )
