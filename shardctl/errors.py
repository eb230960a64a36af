"""What can go wrong with a command, and its exit code: 0 done, 1 refused or a check found something, 2 usage,
3 not reachable, 4 interrupted and resumable (the text names the command that resumes)."""


class ShardctlError(Exception):
    """Ends a command with a message and an exit code."""

    exit_code = 1


class Refused(ShardctlError):
    """Understood, and not done."""


class UsageError(ShardctlError):
    """The command line cannot mean anything."""

    exit_code = 2


class NotReachable(ShardctlError):
    """Something that must answer did not."""

    exit_code = 3


class Interrupted(ShardctlError):
    """Stopped half way; running the named command again goes on from there."""

    exit_code = 4
