"""Take and prune backups. A backup is no harm, so it is also taken when it cannot be recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.backends.backend import Backend, Report
from infra.backends.backups import Backup
from shardctl.audit.recording import recorded_act
from shardctl.backups.coverage import prunable
from shardctl.backups.naming import machine_now, new_label
from shardctl.backups.servers import all_servers, open_backups, subject_of


@dataclass(frozen=True, slots=True)
class Pruned:
    server: str
    labels: tuple[str, ...]
    freed_bytes: int


async def take_backups(
    backend: Backend, servers: Sequence[str], report: Report, *, incremental: bool, reason: str | None
) -> list[Backup]:
    """One after the other. Raises Refused, BackendError; what was taken before stays."""
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


async def prune_backups(backend: Backend, keep: int, report: Report, *, reason: str | None) -> list[Pruned]:
    """Of each server, all but the newest `keep` full backups and what is based on them. Raises Refused, NotReachable,
    BackendError."""
    backups = open_backups(backend, report)
    pruned = []
    for server in all_servers(backend):
        labels = prunable(backups.backups(server), keep)
        if labels:
            arguments = {"keep": keep, "labels": list(labels)}
            async with recorded_act(backend, "backup.prune", subject_of(server), reason=reason, arguments=arguments):
                pruned.append(Pruned(server, labels, await backups.prune(labels, server)))
    return pruned
