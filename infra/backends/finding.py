"""What an examination finds: where, what, and, unless all is well, the likely cause and the next command.

Back ends examine what is theirs (binaries, folders, a cluster's quotas), `shardctl doctor` examines the stack; both
speak in findings, so that the command needs no words for what a back end is made of.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    """Where: the part of machine or stack."""
    verdict: Verdict
    detail: str
    """What was found."""
    fix: str = ""
    """The next command."""
    cause: str = ""
    """Why it is likely so."""

    def __post_init__(self) -> None:
        """Raises ValueError for a bad finding that helps nobody: our own mistake."""
        if self.verdict is not Verdict.GOOD and not (self.cause and self.fix):
            raise ValueError(f"a finding that is not good names a cause and a command: {self.check}, {self.detail}")


def good(check: str, detail: str) -> Finding:
    return Finding(check, Verdict.GOOD, detail)


def warning(check: str, detail: str, *, cause: str, fix: str) -> Finding:
    return Finding(check, Verdict.WARNING, detail, fix, cause)


def bad(check: str, detail: str, *, cause: str, fix: str) -> Finding:
    return Finding(check, Verdict.BAD, detail, fix, cause)
