"""Take, list, verify and prune backups. A backup is no harm, so it is also taken when it cannot be recorded."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.backends.backend import Backend, Report
from infra.backends.backups import Backup, make_label
from shardctl.audit.recording import recorded_act
from shardctl.backups.coverage import Reach, prunable, reaches
from shardctl.backups.servers import all_servers, open_backups, subject_of


@dataclass(frozen=True, slots=True)
class Pruned:
    server: str
    labels: tuple[str, ...]
    freed_bytes: int


def machine_now() -> datetime:
    """Backups are named and judged by the machine's clock, as the log is; a stack's may be shifted."""
    return datetime.now(UTC)


def new_label(server: str) -> str:
    return make_label(server, machine_now(), secrets.token_hex(2))


async def take_backups(
    backend: Backend, servers: Sequence[str], report: Report, *, incremental: bool, reason: str | None
) -> list[Backup]:
    """One after the other. Raises BackendError; what was taken before stays."""
    backups = open_backups(backend, report)
    taken = []
    for server in servers:
        arguments = {"incremental": incremental}
        async with recorded_act(
            backend, "backup.create", subject_of(server), reason=reason, arguments=arguments, unrecorded=True
        ):
            label = new_label(server)
            taken.append(
                await backups.take(server, label=label, incremental=incremental, reason=reason, now=machine_now)
            )
    return taken


async def list_reaches(backend: Backend, servers: Sequence[str] = ()) -> list[Reach]:
    """Of these servers, or of all: each backup, and the moments that it can be restored to."""
    backups = open_backups(backend)
    found: list[Reach] = []
    for server in servers or all_servers(backend):
        if known := backups.backups(server):
            found += reaches(known, await backups.archive_states(server))
    return found


async def verify_backups(backend: Backend, label: str | None, report: Report) -> list[Backup]:
    """One, or all. Raises BackupDamaged with the file's name."""
    backups = open_backups(backend, report)
    known = [backup for server in all_servers(backend) for backup in backups.backups(server)]
    chosen = [backup for backup in known if label in (None, backup.label)]
    return [await backups.verify(backup, machine_now) for backup in chosen]


async def prune_backups(backend: Backend, keep: int, report: Report, *, reason: str | None) -> list[Pruned]:
    """Of each server, all but the newest `keep` full backups and what is based on them."""
    backups = open_backups(backend, report)
    pruned = []
    for server in all_servers(backend):
        labels = prunable(backups.backups(server), keep)
        if labels:
            arguments = {"keep": keep, "labels": list(labels)}
            async with recorded_act(backend, "backup.prune", subject_of(server), reason=reason, arguments=arguments):
                pruned.append(Pruned(server, labels, await backups.prune(labels, server)))
    return pruned
