"""Backups of a stack's database servers, as values and a protocol that a back end may offer.

A backup is a copy of one server at one moment. With the archive of the server's log it can be restored to every moment
from its end on, as far as the log goes without a gap. An archive belongs to one incarnation of a server: after a
restore the log goes to another archive, and the next backup begins there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from infra.backends.backend import BackendError, Report
from infra.backends.cell_spec import Job

Now = Callable[[], datetime]
"""The time in UTC, by the machine's clock."""


def parse_lsn(text: str) -> int:
    """Bytes of the log since its beginning, of the text that PostgreSQL shows. Raises ValueError."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class BackupKind(StrEnum):
    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class Backup:
    """What is noted of a backup when it is complete. LSNs are bytes of the server's log since its beginning."""

    label: str
    server: str
    kind: BackupKind
    based_on: str | None
    """The label that an incremental backup needs, which may need another."""
    archive: str
    timeline: int
    start_lsn: int
    end_lsn: int
    """The log from start to end makes the copy consistent; it is part of the backup."""
    started_at: datetime
    ended_at: datetime
    """By the server's clock. No earlier time can be restored from this backup."""
    size_bytes: int
    server_version: str
    reason: str | None = None
    verified_at: datetime | None = None
    """When every file had the checksum of the backup's manifest, last time somebody looked."""


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """How far the log of one archive goes without a gap from `start_lsn` on, and until when that is."""

    server: str
    archive: str
    timeline: int
    start_lsn: int
    until: datetime | None
    """When the newest transaction in it was committed, by the server's clock; None: there is none."""
    is_open: bool
    """The server's log goes there now."""
    missing: str | None = None
    """The file that should come next and is not there, although later ones are."""
    trouble: str | None = None
    """Why nothing is added to an open archive."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A restore that nothing takes back: what it was asked for, and what it made."""

    incarnation: str
    backup: str
    moment: datetime | None
    """None: the end of the log."""
    newest_commit_at: datetime | None


class BackupDamaged(BackendError):
    """A backup or an archive is not what it was; the text names the file."""


class BackupsBusy(BackendError):
    """Another command works on the backups of the server."""


class NotCovered(BackendError):
    """No backup and log reach the wanted moment; the text says what is covered."""


def make_label(server: str, at: datetime, suffix: str) -> str:
    """Names sort by time; the suffix tells two of one second apart."""
    return f"{server.removesuffix('-postgres')}-{at:%Y%m%dT%H%M%SZ}-{suffix}"


class Backups(Protocol):
    """Backups of the servers of one stack. `server` is a name as `cell-1-postgres`."""

    async def take(self, server: str, *, label: str, incremental: bool, reason: str | None, now: Now) -> Backup:
        """Copy a running server and verify the copy; its log is archived from then on. Repeated with the label of one
        that there is, it returns that one. Raises BackendError."""

    def backups(self, server: str) -> tuple[Backup, ...]:
        """The complete ones, oldest first."""

    def archive_of(self, server: str) -> str | None:
        """The name of the archive that its log goes to; None: it goes to none."""

    async def archive_states(self, server: str) -> tuple[ArchiveState, ...]:
        """One for each archive that a backup needs."""

    async def verify(self, backup: Backup, now: Now) -> Backup:
        """Compare every file with its checksum; returns the backup as noted now. Raises BackupDamaged."""

    async def prune(self, labels: Sequence[str], server: str) -> int:
        """Remove these backups, and the log that none of the others needs; returns the bytes that became free."""

    async def sweep(self, server: str) -> bool:
        """Remove what a killed command left of backups, restores and rehearsals, unless somebody works on them now."""


class Restores(Protocol):
    """Restore the servers of cells. Raises BackendError, BackupDamaged and NotCovered; nothing is changed then."""

    async def withdraw(self, server: str) -> None:
        """Stop the cell. What was committed is in the archive afterwards, unless the server is dead already."""

    async def restore(
        self, server: str, chain: Sequence[Backup], moment: datetime | None, *, incarnation: str, jobs: Sequence[Job]
    ) -> datetime | None:
        """Build the server as it was at `moment` (None: at the end of its log), and run these jobs on it before anybody
        else can connect. It takes its place at the next `create`. Returns when its newest transaction was committed.

        The cell is withdrawn. `chain` is a backup with those that it needs before it.
        """

    def decided(self, server: str) -> Decided | None:
        """A restore that is not in its place yet, because its command was killed: the next `create` finishes it."""

    async def rehearse(
        self, server: str, chain: Sequence[Backup], moment: datetime | None, *, jobs: Sequence[Job]
    ) -> tuple[datetime | None, tuple[str, ...]]:
        """Build it beside the running server, run these jobs on it, and drop it: when its newest transaction was
        committed, and what each job said. The cell runs on. A job finds the source's DSN as `CELL_SOURCE_DSN`."""

    async def catch_up(self, server: str) -> None:
        """Return when the archive has all that is committed now. Raises BackendError."""

    def kept_aside(self, server: str) -> tuple[tuple[str, int], ...]:
        """What restores have replaced: where it lies, and its bytes. Only an operator removes it."""


@runtime_checkable
class HasBackups(Protocol):
    """A back end that makes backups itself; others leave that to what runs their databases."""

    def open_backups(self, report: Report, lease: int | None = None) -> Backups:
        """`lease`: the number of the leader who asks; a former one's names and removes nothing (Overtaken)."""

    def open_restores(self, report: Report, lease: int | None = None) -> Restores:
        """As `open_backups`."""
