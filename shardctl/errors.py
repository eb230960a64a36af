"""How a command ends: the one table of exit codes (`shardctl help exit-codes`), and the errors that lead to them.

What an operation ended with, what the control service refuses with, and what the shell sees are this table's.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_REACHABLE = 3
    INTERRUPTED = 4
    BLOCKED = 5
    ROLLED_BACK = 6
    INCONCLUSIVE = 7
    GOES_ON = 8


MEANINGS: Final[Mapping[Exit, str]] = {
    Exit.DONE: "done, or nothing to do",
    Exit.FAILED: "failed or refused, or a check found something (a partial answer too, unless it is allowed)",
    Exit.USAGE: "usage: the arguments or the settings make no sense",
    Exit.NOT_REACHABLE: "not reachable, or not let in (another release's command too)",
    Exit.INTERRUPTED: "interrupted; the message names the command that goes on",
    Exit.BLOCKED: "blocked: a conflict, a stale plan, a freeze, a missing confirmation or approval",
    Exit.ROLLED_BACK: "judged bad and rolled back",
    Exit.INCONCLUSIVE: "inconclusive: waits for a person",
    Exit.GOES_ON: "still running at the time limit, or detached",
}


def exit_of(code: int) -> Exit:
    """What an operation ended with. One of a later release's table, which this one does not have, is FAILED."""
    return Exit(code) if code in Exit.__members__.values() else Exit.FAILED


class ShardctlError(Exception):
    """Ends a command with a message and an exit code."""

    exit_code: Exit = Exit.FAILED


class Refused(ShardctlError):
    """The command was understood and was not done, or a check found something."""


class UsageError(ShardctlError):
    """The arguments contradict each other or name something that cannot exist."""

    exit_code = Exit.USAGE


class NotReachable(ShardctlError):
    """A process, database or broker that the command needs did not answer, or does not let it in."""

    exit_code = Exit.NOT_REACHABLE


class NotSent(NotReachable):
    """Nobody listens: nothing was asked, so the same may be asked again."""


class NotAllowed(ShardctlError):
    """Not let in: nobody who is known, or a person whose role does not reach this far."""

    exit_code = Exit.NOT_REACHABLE


class Interrupted(ShardctlError):
    """Stopped half way; the command that the message names continues from there."""

    exit_code = Exit.INTERRUPTED


class Blocked(ShardctlError):
    """Something else must happen first: another operation's end, a new plan, a confirmation, an approval."""

    exit_code = Exit.BLOCKED


class StillRunning(ShardctlError):
    """What was asked for goes on without this command; the message names the command that comes back to it."""

    exit_code = Exit.GOES_ON
