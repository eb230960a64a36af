"""The backups that there are: how far each reaches, and whether its files are whole. Changes no backup."""

from collections.abc import Sequence

from infra.backends.backend import Backend, Report
from infra.backends.backups import Backup
from shardctl.backups.coverage import Reach, reaches
from shardctl.backups.naming import machine_now
from shardctl.backups.servers import all_servers, open_backups


async def list_reaches(backend: Backend, servers: Sequence[str] = ()) -> list[Reach]:
    """Of these servers, or of all: each backup, and the moments that it can be restored to. Raises Refused,
    BackendError."""
    backups = open_backups(backend)
    found: list[Reach] = []
    for server in servers or all_servers(backend):
        if known := backups.backups(server):
            found += reaches(known, await backups.archive_states(server))
    return found


async def verify_backups(backend: Backend, label: str | None, report: Report) -> list[Backup]:
    """One, or all. Raises BackupDamaged with the file's name, Refused, BackendError."""
    backups = open_backups(backend, report)
    known = [backup for server in all_servers(backend) for backup in backups.backups(server)]
    chosen = [backup for backup in known if label in (None, backup.label)]
    return [await backups.verify(backup, machine_now) for backup in chosen]
