"""Since when each owner is the owner: an ownership epoch per bucket and per pin, beside a map's arrays.

A map epoch counts publications, of whatever; an ownership epoch is drawn when a user or a bucket changes hands, so a
later owner always has the higher one. A map of format 1 has none: there the map's own epoch stands for all of them, and
the counter in the control database starts above it.
"""

from array import array
from dataclasses import dataclass

from infra.topology.errors import MapInvalid


@dataclass(frozen=True, slots=True)
class OwnershipEpochs:
    """`buckets[bucket]` and `pins[i]` are 64-bit numbers, in the order of the map's owners and pins; 0: never owned."""

    buckets: "array[int]"
    pins: "array[int]"

    def check(self, bucket_count: int, pin_count: int) -> None:
        """Raises MapInvalid unless there is one of each."""
        if (len(self.buckets), len(self.pins)) != (bucket_count, pin_count):
            raise MapInvalid("there is not one ownership epoch for each bucket and each pin")
        if self.pins and min(self.pins) == 0:
            raise MapInvalid("a pin has no ownership epoch")
