"""How a command can end without success, and its exit code.

0 done; 1 refused, or a check found something; 2 usage; 3 not reachable; 4 interrupted and resumable (the message names
the command that resumes).
"""


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


class Interrupted(ShardctlError):
    """Stopped half way; the command that the message names continues from there."""

    exit_code = 4
