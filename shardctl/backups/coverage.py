"""Which moments can be restored, and from which backup. Pure.

A backup reaches from its own end to where the log of its archive ends or has a gap. A moment is covered if a
transaction after it is in the log: only then it is certain that all up to it are there. Times are those of the
database servers' clock, which is the machine's: a stack's shifted clock does not count here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.backends.backups import ArchiveState, Backup, BackupKind, NotCovered


@dataclass(frozen=True, slots=True)
class Reach:
    """The moments that one backup can be restored to. `latest` is None while nothing was committed after it."""

    backup: Backup
    earliest: datetime
    latest: datetime | None
    is_open: bool
    """The log goes on: `latest` moves."""
    missing: str | None
    """The file of the log by whose lack `latest` stays where it is."""
    trouble: str | None = None

    def covers(self, moment: datetime) -> bool:
        return self.latest is not None and self.earliest <= moment <= self.latest


def reaches(backups: Sequence[Backup], states: Sequence[ArchiveState]) -> tuple[Reach, ...]:
    """One for each backup, oldest first."""
    by_archive = {state.archive: state for state in states}
    return tuple(_reach(backup, by_archive.get(backup.archive)) for backup in backups)


def _reach(backup: Backup, state: ArchiveState | None) -> Reach:
    if state is None:
        return Reach(backup, backup.ended_at, None, is_open=False, missing=None)
    latest = state.until if state.until is not None and state.until >= backup.ended_at else None
    return Reach(backup, backup.ended_at, latest, state.is_open, state.missing, state.trouble)


def choose(found: Sequence[Reach], moment: datetime | None, label: str | None) -> Reach:
    """The backup to restore from: the one named, else the newest before `moment`, else (None: the latest moment) the
    newest whose log is still written, or the newest. Raises NotCovered, which says what is covered."""
    candidates = [reach for reach in found if label in (None, reach.backup.label)]
    if not candidates:
        known = ", ".join(reach.backup.label for reach in found)
        raise NotCovered(f"there is no backup {label}; there are: {known}" if found else "there is no backup")
    if moment is None:
        return max(candidates, key=lambda reach: (reach.is_open, reach.earliest))
    covering = [reach for reach in candidates if reach.covers(moment)]
    if not covering:
        raise NotCovered(f"{format_time(moment)} is not covered. {describe(candidates)}")
    return max(covering, key=lambda reach: reach.earliest)


def describe(found: Sequence[Reach]) -> str:
    """What is covered, one sentence for each archive, for people."""
    sentences = []
    for archive in dict.fromkeys(reach.backup.archive for reach in found):
        of_it = [reach for reach in found if reach.backup.archive == archive]
        first, last = of_it[0], of_it[-1]
        if last.latest is None:
            sentence = f"{first.backup.label} is covered at its own end only, {format_time(first.earliest)} (latest)"
        else:
            sentence = f"Covered is {format_time(first.earliest)} to {format_time(last.latest)}"
        if last.missing:
            sentence += f"; {last.missing} is missing in its log"
        sentences.append(sentence)
    return "; ".join(sentences)


def chain(backups: Sequence[Backup], label: str) -> tuple[Backup, ...]:
    """The backups that one needs, the full one first, itself last. Raises NotCovered if one is gone."""
    by_label = {backup.label: backup for backup in backups}
    found: list[Backup] = []
    wanted: str | None = label
    while wanted is not None:
        backup = by_label.get(wanted)
        if backup is None:
            raise NotCovered(f"{label} needs {wanted}, which is not there")
        found.append(backup)
        wanted = backup.based_on
    return tuple(reversed(found))


def prunable(backups: Sequence[Backup], keep: int) -> tuple[str, ...]:
    """The labels of what goes when the newest `keep` full backups stay with all that is based on them, newest first:
    none goes before what needs it."""
    fulls = [backup.label for backup in backups if backup.kind is BackupKind.FULL]
    kept = set(fulls[-keep:]) if keep else set()
    for backup in backups:
        if backup.based_on in kept:
            kept.add(backup.label)
    return tuple(backup.label for backup in reversed(backups) if backup.label not in kept)


def parse_moment(text: str) -> datetime | None:
    """`latest` is None. Raises ValueError for what is no time with its zone."""
    if text == "latest":
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(UTC)


def spell_moment(moment: datetime | None) -> str:
    """What `parse_moment` reads, in one spelling."""
    return "latest" if moment is None else format_time(moment)


def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
