"""What cells have said of users who left them, kept until the map says it too.

A cell knows who owns a user now before any map does, so the last hint for a user is used for their next requests, after
a hold, and beside every map that is older than it. What is remembered is bounded: a user whose hint was forgotten is
sent to the cell that the map names, and hears the hint again.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from infra.topology.identifiers import CellId, Epoch
from infra.topology.shard_map import ShardMap

KEPT_MAX: Final = 10_000
"""About 3 MB. Users between two maps are those who moved within seconds, or since the control plane died."""


@dataclass(frozen=True, slots=True)
class Hint:
    """The owner of a user, and since which ownership epoch."""

    cell_id: CellId
    epoch: Epoch


class Hints:
    """Those of one router. `kept_max`: beyond it the one that was heard first is forgotten."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._hints: dict[UUID, Hint] = {}

    def __len__(self) -> int:
        return len(self._hints)

    def remember(self, user_id: UUID, hint: Hint) -> None:
        """Only a later one replaces another."""
        known = self._hints.pop(user_id, hint)
        self._hints[user_id] = hint if hint.epoch > known.epoch else known
        if len(self._hints) > self._kept_max:
            del self._hints[next(iter(self._hints))]

    def forget(self, user_id: UUID) -> None:
        """It led to a cell that does not know the user."""
        self._hints.pop(user_id, None)

    def ahead_of(self, shard_map: ShardMap, user_id: UUID) -> Hint | None:
        """The user's hint if it is later than what the map says, else None: a map that has caught up replaces it. A map
        that names the same cell since an earlier epoch has not: the user may have come back to it meanwhile, and that
        cell may want to see the later one."""
        hint = self._hints.get(user_id)
        if hint is not None and shard_map.ownership_epoch(user_id) >= hint.epoch:
            del self._hints[user_id]
            return None
        return hint
