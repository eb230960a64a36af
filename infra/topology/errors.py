"""What can be wrong with a map. A reader that meets one of these keeps the map it has."""


class MapError(Exception):
    """The map cannot be used."""


class MapCorrupted(MapError):
    """The bytes are not a whole, unaltered snapshot."""


class MapInvalid(MapError):
    """The snapshot is whole, but what it says breaks an invariant."""


class MapOfAnotherLineage(MapError):
    """The map belongs to another stack: its cells are not ours."""


class MapTooOld(MapError):
    """The map is older than the one already held."""


class DeltaDoesNotFit(MapError):
    """A delta of another epoch, lineage or directory than that of the map at hand: a snapshot is needed."""
