"""Backups of a local stack's databases: taken, listed, verified, pruned. Restoring is `restoring.py`.

A backup is a folder `backups/SERVER/LABEL/` with the copy (`data/`) and what is noted of it (`backup.json`). It is made
beside that name and renamed when it is complete and verified, so one that has a name is whole; what a killed command
left is removed by the next one (`backup_lock.py`). One command at a time works on the backups of a server; a second one
is refused. A former leader of the control service names, removes and archives nothing. Files are readable by who runs
the stack and nobody else.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from infra.backends.backend import BackendError, JobResult, Phase, Report, Step
from infra.backends.backups import ArchiveState, Backup, BackupKind, Backups, Now, parse_lsn
from infra.backends.cell_spec import Job, ProcessSpec
from infra.backends.local.accounts import server_user
from infra.backends.local.archive import SEGMENT_BYTES, archive_process_name, list_segments
from infra.backends.local.backup_files import (
    MANIFEST,
    NOTE,
    UNFINISHED,
    judge_space,
    make_private,
    read_note,
    read_range,
    sync_folder,
    tree_bytes,
    verify_files,
    write_note,
)
from infra.backends.local.backup_lock import WAIT_S, backup_lock, marks_of, sweep_left
from infra.backends.local.fence import refuse_overtaken
from infra.backends.local.folders import StackFolder
from infra.backends.local.postgres import Cluster, locate_binaries, server_version
from infra.backends.local.postgres_tools import BASEBACKUP, plain_output, require_tools, run_tool
from infra.backends.local.record import StackRecord
from infra.backends.local.wal_reading import newest_commit
from infra.backends.roles import SUPERUSER, archiver_statements
from infra.runtime.fault_points import FaultPoints
from infra.runtime.statements import StatementsFailed, fetch_row, run_statements

ARCHIVED: Final = "backup.archived"
COPIED: Final = "backup.copied"
VERIFIED: Final = "backup.verified"
NOTED: Final = "backup.noted"
PRUNED: Final = "backup.pruned"
_ARCHIVE_WAIT_S: Final = 30.0
"""For the archive to have what is written: it says how far it is every second."""
_PAUSE_S: Final = 0.1
"""Between looks at the archive."""

_CLOCK: Final = "select clock_timestamp()"
_SLOT: Final = "select coalesce(wal_status, 'lost'), active from pg_replication_slots where slot_name = %s"
_CREATE_SLOT: Final = "select pg_create_physical_replication_slot('{}', true)"
_DROP_SLOTS: Final = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name <> '{}'"
_WRITTEN: Final = """
select pg_current_wal_flush_lsn()::text,
       (select max(r.write_lsn)::text from pg_stat_replication r
          join pg_replication_slots s on s.active_pid = r.pid where s.slot_name = %s)
"""
_MARK: Final = "select pg_logical_emit_message(true, 'backup', %s)"


class Host(Protocol):
    """What backups need of the back end whose they are."""

    @property
    def folder(self) -> StackFolder: ...

    def record(self) -> StackRecord: ...

    def cluster(self, server: str) -> Cluster: ...

    async def run_job_on(self, job: Job, cluster: Cluster, passfile: Path, environment: Mapping[str, str]) -> JobResult:
        """A job against another server than the stack's, with this in its environment besides."""

    async def stop_processes(self, names: Sequence[str]) -> None:
        """Until somebody starts them again."""

    async def plan(self) -> tuple[ProcessSpec, ...]: ...

    async def archive_to(self, server: str, archive: str | None, lease: int | None) -> None:
        """From now on the server's log goes to this archive, and its process runs; None: it ends. Raises Overtaken."""


class LocalBackups(Backups):
    """Of one stack. `lease`: the number of the leader who works here; None: a person at this machine."""

    def __init__(self, host: Host, report: Report, lease: int | None = None) -> None:
        self._host = host
        self._report = report
        self._lease = lease
        self._faults = FaultPoints()

    # ---- what there is -------------------------------------------------------------------------------------------

    def backups(self, server: str) -> tuple[Backup, ...]:
        """Raises BackupDamaged."""
        folder = self._host.folder.backups(server)
        found = [read_note(path) for path in folder.iterdir() if (path / NOTE).exists()] if folder.is_dir() else []
        return tuple(sorted((each for each in found if each is not None), key=lambda each: each.ended_at))

    def data(self, backup: Backup) -> Path:
        return self._host.folder.backups(backup.server) / backup.label / "data"

    def archive_of(self, server: str) -> str | None:
        return self._host.record().archived.get(server)

    async def archive_states(self, server: str) -> tuple[ArchiveState, ...]:
        return tuple([await self._archive_state(backup) for backup in self._first_of_archives(server).values()])

    def _first_of_archives(self, server: str) -> dict[str, Backup]:
        """The oldest backup that needs each archive: its log matters from there on."""
        firsts: dict[str, Backup] = {}
        for backup in self.backups(server):
            firsts.setdefault(backup.archive, backup)
        return firsts

    async def _archive_state(self, first: Backup) -> ArchiveState:
        folder = self._host.folder.archive(first.server, first.archive)
        segments = list_segments(folder, first.timeline)
        run = segments.run(first.start_lsn // SEGMENT_BYTES)
        is_open = self.archive_of(first.server) == first.archive
        return ArchiveState(
            server=first.server,
            archive=first.archive,
            timeline=first.timeline,
            start_lsn=first.start_lsn,
            until=await newest_commit(locate_binaries(server_user()), folder, segments, run),
            is_open=is_open,
            missing=segments.missing(first.start_lsn // SEGMENT_BYTES),
            trouble=await self._trouble(first.server, first.archive) if is_open else None,
        )

    async def _trouble(self, server: str, archive: str) -> str | None:
        try:
            row = await fetch_row(self._dsn(server), _SLOT, [archive])
        except StatementsFailed:
            return "the server does not answer"
        if row is None or row[0] == "lost":
            return "the server no longer keeps the log that the archive lacks: take a new backup"
        return None if row[1] else f"nothing is archived now: `shardctl logs {archive_process_name(server)}`"

    # ---- take ----------------------------------------------------------------------------------------------------

    async def take(self, server: str, *, label: str, incremental: bool, reason: str | None, now: Now) -> Backup:
        """Raises BackendError: a tool is missing, the disk is too small, the server does not answer, no backup to be
        based on; Overtaken."""
        binaries = locate_binaries(server_user())
        require_tools(binaries)
        async with self.lock(server):
            if (known := {backup.label: backup for backup in self.backups(server)}.get(label)) is not None:
                return known
            cluster = self._host.cluster(server)
            # Trees are walked off the loop: a large one takes longer than the lease that this loop must renew.
            self._judge_space(server, await asyncio.to_thread(tree_bytes, cluster.data))
            archive = await self._archive(server)
            await self._faults.reach(ARCHIVED)
            base = self._base(server, archive) if incremental else None
            building = self._host.folder.backups(server) / f"{UNFINISHED}{label}"
            make_private(building, self._host.folder.root)
            started_at = await self._clock(server)
            await self._copy(cluster, building / "data", base, binaries, label)
            await self._faults.reach(COPIED)
            ended_at = await self._clock(server)
            timeline, start_lsn, end_lsn = read_range(building / "data")
            await self._wait_archived(server, archive)
            await verify_files(binaries, building / "data", self._subject(server), self._report, self.marks(server))
            await self._faults.reach(VERIFIED)
            backup = Backup(
                label=label,
                server=server,
                kind=BackupKind.INCREMENTAL if base else BackupKind.FULL,
                based_on=base.label if base else None,
                archive=archive,
                timeline=timeline,
                start_lsn=start_lsn,
                end_lsn=end_lsn,
                started_at=started_at,
                ended_at=ended_at,
                size_bytes=await asyncio.to_thread(tree_bytes, building / "data"),
                server_version=await server_version(binaries),
                reason=reason,
                verified_at=now(),
            )
            write_note(building, backup)
            await self._faults.reach(NOTED)
            refuse_overtaken(self._host.folder, self._lease)
            os.rename(building, building.with_name(label))
            sync_folder(building.parent)
        self._report(Step(self._subject(server), Phase.READY, label))
        return backup

    def _base(self, server: str, archive: str) -> Backup:
        """The newest backup of the same incarnation."""
        known = [backup for backup in self.backups(server) if backup.archive == archive]
        if not known:
            raise BackendError(
                f"{server}: there is no backup that an incremental one could be based on: take a full one first"
            )
        return known[-1]

    async def _copy(self, cluster: Cluster, data: Path, base: Backup | None, binaries: Path, label: str) -> None:
        subject = self._subject(cluster.name)
        command = [
            str(binaries / BASEBACKUP), "--pgdata", str(data), "--format", "plain", "--wal-method", "stream",
            # somebody waits for it; a spread checkpoint takes minutes
            "--checkpoint", "fast", "--progress", "--no-password", "--label", label,
            "--dbname", cluster.dsn(cluster.roles.archiver, self._host.folder.pgpass),
        ]  # fmt: skip
        if base is not None:
            command += ["--incremental", str(self.data(base) / MANIFEST)]
        result = await run_tool(
            command,
            lambda percent: self._progress(subject, f"copied {percent} %"),
            marks=self.marks(cluster.name),
        )
        if result.exit_code != 0:
            raise BackendError(f"{cluster.name}: {BASEBACKUP} failed:\n{plain_output(result.output)[-2_000:]}")

    def _progress(self, subject: str, detail: str) -> None:
        self._report(Step(f"{subject}: {detail}", Phase.START))

    async def _clock(self, server: str) -> datetime:
        row = await self._ask(server, _CLOCK)
        assert row is not None
        at: datetime = row[0]
        return at.astimezone(UTC)

    # ---- archive -------------------------------------------------------------------------------------------------

    async def _archive(self, server: str) -> str:
        """The name of the archive that the server's log goes to; a new one if there is none, or if it has a gap."""
        cluster = self._host.cluster(server)
        known = self.archive_of(server)
        if known is not None:
            row = await self._ask(server, _SLOT, [known])
            segments = {path.name for path in self._folder(server, known).glob("*")}
            if row is not None and row[0] != "lost" and (segments or not self.backups(server)):
                return known
        name = f"archive_{secrets.token_hex(6)}"
        make_private(self._folder(server, name), self._host.folder.root)
        statements = [
            *archiver_statements(cluster.roles, cluster.passwords[cluster.roles.archiver]),
            _DROP_SLOTS.format(name),
            _CREATE_SLOT.format(name),
        ]
        await self._host.archive_to(server, None, self._lease)
        try:
            await run_statements(self._dsn(server), statements)
            # What cannot be in a transaction: incremental backups read what changed from summaries of the log.
            await run_statements(self._dsn(server), ["alter system set summarize_wal = on"], in_transaction=False)
            await run_statements(self._dsn(server), ["select pg_reload_conf()"])
        except StatementsFailed as error:
            raise BackendError(f"{server}: its log cannot be archived: {error}") from error
        await self._host.archive_to(server, name, self._lease)
        return name

    async def mark(self, server: str, text: str) -> None:
        """Commit something, so that the log says what time it is now, and wait until the archive has it."""
        await self._ask(server, _MARK, [text])
        archive = self.archive_of(server)
        if archive is not None:
            await self._wait_archived(server, archive)

    async def _wait_archived(self, server: str, archive: str) -> None:
        """Until the archive has all that is written now. Raises BackendError."""
        wanted: int | None = None
        deadline = asyncio.get_running_loop().time() + _ARCHIVE_WAIT_S
        while asyncio.get_running_loop().time() < deadline:
            row = await self._ask(server, _WRITTEN, [archive])
            assert row is not None
            wanted = wanted or parse_lsn(row[0])
            if row[1] is not None and parse_lsn(row[1]) >= wanted:
                return
            await asyncio.sleep(_PAUSE_S)
        name = archive_process_name(server)
        raise BackendError(
            f"{server}: the archive did not get the log within {_ARCHIVE_WAIT_S:.0f} s: `shardctl logs {name}`"
        )

    def _folder(self, server: str, archive: str) -> Path:
        return self._host.folder.archive(server, archive)

    # ---- verify and prune ----------------------------------------------------------------------------------------

    async def verify(self, backup: Backup, now: Now) -> Backup:
        """Raises BackupDamaged, BackendError."""
        binaries = locate_binaries(server_user())
        require_tools(binaries)
        async with self.lock(backup.server):
            await verify_files(binaries, self.data(backup), backup.label, self._report, self.marks(backup.server))
            noted = replace(backup, verified_at=now())
            write_note(self.data(backup).parent, noted)
        return noted

    async def prune(self, labels: Sequence[str], server: str) -> int:
        """Raises Overtaken."""
        async with self.lock(server):
            folder = self._host.folder.backups(server)
            before = await asyncio.to_thread(tree_bytes, folder)
            refuse_overtaken(self._host.folder, self._lease)
            for label in labels:
                gone = folder / f"{UNFINISHED}{label}"
                os.rename(folder / label, gone)  # in one step: half a backup has no name
                await self._faults.reach(PRUNED)
                await asyncio.to_thread(shutil.rmtree, gone)
            await self._prune_log(server)
            return max(0, before - await asyncio.to_thread(tree_bytes, folder))

    async def _prune_log(self, server: str) -> None:
        """Files that end before the first backup of their archive, and archives without any."""
        firsts = self._first_of_archives(server)
        for folder in (self._host.folder.backups(server) / "log").glob("*"):
            first = firsts.get(folder.name)
            if first is not None:
                segments = list_segments(folder, first.timeline)
                needed_from = first.start_lsn // SEGMENT_BYTES
                old = [folder / segments.file_name(number) for number in segments.complete if number < needed_from]
                await asyncio.to_thread(_unlink_all, old)
            elif self.archive_of(server) != folder.name:
                await asyncio.to_thread(shutil.rmtree, folder)

    # ---- shared --------------------------------------------------------------------------------------------------

    def lock(self, server: str) -> AbstractAsyncContextManager[None]:
        """Raises BackupsBusy."""
        return backup_lock(self._host.folder, server, wait_s=WAIT_S)

    async def sweep(self, server: str) -> bool:
        return await sweep_left(self._host.folder, server)

    def marks(self, server: str) -> Mapping[str, str]:
        return marks_of(self._host.folder, server)

    def _judge_space(self, server: str, wanted_bytes: int) -> None:
        judge_space(self._host.folder.root, wanted_bytes, f"a backup of {server}")

    def _subject(self, server: str) -> str:
        return f"{server.removesuffix('-postgres')} backup"

    def _dsn(self, server: str) -> str:
        return self._host.cluster(server).dsn(SUPERUSER, self._host.folder.pgpass, SUPERUSER)

    async def _ask(self, server: str, query: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
        try:
            return await fetch_row(self._dsn(server), query, parameters)
        except StatementsFailed as error:
            raise BackendError(f"{server} does not answer ({error}): `shardctl status`") from error


def _unlink_all(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()
