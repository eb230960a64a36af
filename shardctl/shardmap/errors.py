"""Refusals of the control database, by the private SQLSTATE that its procedures raise."""

from typing import Final

from shardctl.operations.errors import LeaseLost


class ShardMapRefused(Exception):
    """The control database refused to change the map; nothing was changed."""


class StaleEpoch(ShardMapRefused):
    """The map is at another epoch than the change was planned for; read it again and repeat the command."""


class CellExists(ShardMapRefused):
    """The cell is in the directory already."""


class NoFreeBuckets(ShardMapRefused):
    """Fewer buckets are unassigned than the lot asked for."""


class UnknownCell(ShardMapRefused):
    """No such cell in the directory."""


class OwnershipEpochRefused(ShardMapRefused):
    """The user was pinned with this ownership epoch or a later one, or nobody drew it: a flip that comes too late."""


class KeyIdReused(ShardMapRefused):
    """A cell's key id names another public key already: what the first one signed must stay verifiable."""


class MapNotCreated(ShardMapRefused):
    """This stack has no map yet: `create_lineage` comes first."""


BY_SQLSTATE: Final[dict[str, type[Exception]]] = {
    "RBC01": StaleEpoch,
    "RBC02": CellExists,
    "RBC03": NoFreeBuckets,
    "RBC04": UnknownCell,
    "RBC06": OwnershipEpochRefused,
    "RBC07": KeyIdReused,
    "RBC10": LeaseLost,
}
