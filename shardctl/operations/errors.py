"""Why an operation is not made, does not go on, or a writer is no leader any more: by the database's SQLSTATE."""

from typing import Final

from shardctl.errors import Blocked, Refused


class LeaseLost(Exception):
    """This process does not lead any more. It stops; nothing that it writes is taken."""


class CancelAsked(Exception):
    """Somebody wants the operation cancelled: no further step begins."""


class WrongState(Refused):
    """The operation is in a state from which that does not lead on."""


class NoSuchOperation(Refused):
    """There is no operation of that number."""


class KeyReused(Refused):
    """The idempotency key was used for another request."""


class Conflict(Blocked):
    """An operation that has not ended excludes this one."""


class NotUndone(Blocked):
    """A step that cannot be undone has begun: the operation goes on to its end."""


class SamePerson(Blocked):
    """Who asked for an operation does not approve it."""


class RequestGivenUp(Refused):
    """The answer was given that it failed, before the database had heard of it: nothing is begun by it any more."""


class PlanStale(Blocked):
    """The state that the plan was made for has changed: make a new one."""


BY_SQLSTATE: Final[dict[str, type[Exception]]] = {
    "RBC10": LeaseLost,
    "RBC11": KeyReused,
    "RBC12": Conflict,
    "RBC13": WrongState,
    "RBC14": CancelAsked,
    "RBC15": NotUndone,
    "RBC16": SamePerson,
    "RBC17": RequestGivenUp,
}
