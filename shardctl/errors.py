"""How a command can end without success, and its exit code: the one table of them (`shardctl help exit-codes`)."""

from collections.abc import Mapping
from typing import Final

EXIT_CODES: Final[Mapping[int, str]] = {
    0: "done, or nothing to do",
    1: "failed or refused, or a check found something (a partial answer too, unless it is allowed)",
    2: "usage: the arguments make no sense",
    3: "not reachable, or not let in",
    4: "interrupted; the message names the command that goes on",
    5: "blocked: a conflict, a stale plan, a freeze, a missing confirmation or approval",
    6: "judged bad and rolled back",
    7: "inconclusive: waits for a person",
    8: "still running at the time limit, or detached",
}


class ShardctlError(Exception):
    """Ends a command with a message and an exit code."""

    exit_code = 1


class Refused(ShardctlError):
    """The command was understood and was not done, or a check found something."""


class UsageError(ShardctlError):
    """The arguments contradict each other or name something that cannot exist."""

    exit_code = 2


class NotReachable(ShardctlError):
    """A process, database or broker that the command needs did not answer."""

    exit_code = 3


class NotAllowed(ShardctlError):
    """The person is known, and their role does not reach this far."""

    exit_code = 3


class Interrupted(ShardctlError):
    """Stopped half way; the command that the message names continues from there."""

    exit_code = 4


class Blocked(ShardctlError):
    """Something else must happen first: another operation's end, a new plan, a confirmation, an approval."""

    exit_code = 5


class StillRunning(ShardctlError):
    """What was asked for goes on without this command; the message names the command that comes back to it."""

    exit_code = 8
