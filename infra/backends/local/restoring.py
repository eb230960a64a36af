"""Build a restored server beside the one that runs: the copy, its log, recovery to a moment, at rest again.

Everything happens in `data/.SERVER.restoring`, behind a private port that only the superuser and the database's owner
can use. What was built takes its place in two steps: it is renamed to `.SERVER.restored`, which decides it, and then
changes places with the data directory (`finish_restore`), which `up` and a repeated restore also do after a crash. One
that was killed before it decided has changed nothing, and who next takes the lock removes what it left. The old data
directory is kept as `SERVER.before-INCARNATION`; nobody but an operator removes it.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.backups import Backup, BackupDamaged, Decided, NotCovered, format_lsn
from infra.backends.local.accounts import ServerUser, give, server_user
from infra.backends.local.archive import SEGMENT_BYTES, Segments, list_segments, segment_name
from infra.backends.local.backup_files import judge_space, sync_folder, tree_bytes, verify_files
from infra.backends.local.backup_lock import building_folder, building_passfile, marks_of
from infra.backends.local.commands import clean_environment
from infra.backends.local.copying import copy_file, copy_tree
from infra.backends.local.folders import StackFolder
from infra.backends.local.postgres import (
    HOST,
    Cluster,
    locate_binaries,
    remove_stale_pid_file,
    server_command,
    write_configuration,
)
from infra.backends.local.postgres_tools import COMBINEBACKUP, plain_output, require_tools, run_tool
from infra.backends.local.supervisor import TOKEN_VARIABLE
from infra.backends.local.wal_reading import check_wal
from infra.backends.replaced_file import replace_file
from infra.backends.roles import SUPERUSER
from infra.runtime.statements import StatementsFailed, fetch_row

INCARNATION: Final = "incarnation"
DECIDED: Final = "decided.json"
"""What the restore was asked for, for a command that asks again."""
_PAUSE_S: Final = 0.2
"""Between two looks at a recovery that takes seconds to hours."""
_STOP_LIMIT_S: Final = 60.0
"""For a checkpoint and the end of a server that nobody uses."""
_LOG_LINES: Final = 12
"""The last ones, in the error of a server that does not start."""
_RECOVERING: Final = "select pg_is_in_recovery(), pg_last_xact_replay_timestamp()"


def restored_folder(folder: StackFolder, server: str) -> Path:
    return folder.data(f".{server}.restored")


class Restoration:
    """One server built from a chain of backups (the full one first) and their archive."""

    def __init__(
        self, folder: StackFolder, cluster: Cluster, port: int, token: str, purpose: str, report: Report
    ) -> None:
        self._folder = folder
        self._server = cluster.name
        self._token = token
        self._report = report
        self._user = server_user()
        self._binaries = locate_binaries(self._user)
        self._subject = f"{cluster.name.removesuffix('-postgres')} {purpose}"
        self.data = building_folder(folder, cluster.name, purpose)
        self.cluster = replace(cluster, data=self.data, port=port)
        """The private server: the same roles, behind another port."""
        self.passfile = building_passfile(folder, cluster.name, purpose)
        self.marks = marks_of(folder, cluster.name)

    async def build(self, chain: Sequence[Backup], moment: datetime | None) -> None:
        """The copy and its log, ready to recover. Raises BackupDamaged with the file's name, NotCovered,
        BackendError."""
        require_tools(self._binaries)
        last = chain[-1]
        archive = self._folder.archive(self._server, last.archive)
        segments = list_segments(archive, last.timeline)
        first = last.start_lsn // SEGMENT_BYTES
        if moment is None and (missing := segments.missing(first)) is not None:
            raise NotCovered(f"{archive / missing} is missing: what came after it cannot be restored; name a time")
        run = segments.run(first)
        judge_space(
            self._folder.root, sum(backup.size_bytes for backup in chain) + len(run) * SEGMENT_BYTES, "the restore"
        )
        for backup in chain:
            await verify_files(self._binaries, self._copy_of(backup), self._subject, self._report, self.marks)
        end = await check_wal(self._binaries, archive, segments, last.start_lsn)
        self._report(Step(self._subject, Phase.PREPARE, f"backup and log are whole, up to {format_lsn(end.lsn)}"))
        await self._copy([self._copy_of(backup) for backup in chain])
        await self._take_log(archive, segments, run)
        (self.data / "recovery.signal").touch(mode=0o600)
        await asyncio.to_thread(give_tree, self.data, self._user)
        write_configuration(self.data, self.cluster.port, self._user)

    def _copy_of(self, backup: Backup) -> Path:
        return self._folder.backups(self._server) / backup.label / "data"

    async def _copy(self, chain: Sequence[Path]) -> None:
        self._report(Step(f"{self._subject}: copying", Phase.START))
        if len(chain) == 1:
            await copy_tree(chain[0], self.data, self.marks)
            return
        command = [str(self._binaries / COMBINEBACKUP), "--output", str(self.data), *(str(path) for path in chain)]
        result = await run_tool(command, marks=self.marks)
        if result.exit_code != 0:
            raise BackupDamaged(f"{COMBINEBACKUP} failed: {plain_output(result.output)[-500:]}")

    async def _take_log(self, archive: Path, segments: Segments, run: range) -> None:
        """Into the copy itself: the archive is closed to who runs the server."""
        for number in run:
            target = self.data / "pg_wal" / segment_name(segments.timeline, number)
            await copy_file(archive / segments.file_name(number), target, self.marks)

    @asynccontextmanager
    async def recovered(self, moment: datetime | None, roles: Sequence[str]) -> AsyncIterator[datetime | None]:
        """The server, recovered to the moment (None: to the end of the log) and open for these roles only; yields when
        its newest transaction was committed. Afterwards it is at rest. Raises BackendError with the server's words."""
        hba = self.data / "private_hba.conf"
        lines = "".join(f"host all {role} {HOST}/32 scram-sha-256\n" for role in (SUPERUSER, *roles))
        replace_file(hba, lines.encode(), mode=0o600)
        give(hba, self._user)
        replace_file(self.passfile, ("\n".join(self.cluster.pgpass_lines()) + "\n").encode(), mode=0o600)
        settings = {
            "hba_file": str(hba),
            # The log lies in pg_wal: there is nothing to fetch.
            "restore_command": "false",
            "recovery_target_timeline": "current",
            "recovery_target_action": "promote",
            "recovery_target_inclusive": "on",
            "recovery_target_time": moment.isoformat() if moment else "",
        }
        process = self._start(settings)
        try:
            newest = await self._await_recovery(process)
            yield newest
        finally:
            await self._stop(process)
            hba.unlink(missing_ok=True)
            self.passfile.unlink(missing_ok=True)

    def _start(self, settings: dict[str, str]) -> "subprocess.Popen[bytes]":
        options = [part for name, value in settings.items() if value for part in ("-c", f"{name}={value}")]
        user = self._user
        self._log.unlink(missing_ok=True)
        with self._log.open("ab") as sink:
            return subprocess.Popen(
                [*server_command(self._binaries, self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd="/",
                env={**clean_environment(), TOKEN_VARIABLE: self._token, **self.marks},
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[user.gid] if user else None,
                start_new_session=True,  # Ctrl-C is for this command, which ends the server in order
            )

    @property
    def _log(self) -> Path:
        return self._folder.log(self._subject.replace(" ", "-"))

    async def _await_recovery(self, process: "subprocess.Popen[bytes]") -> datetime | None:
        dsn = self.cluster.dsn(SUPERUSER, self.passfile, SUPERUSER)
        newest: datetime | None = None
        while process.poll() is None:
            try:
                row = await fetch_row(dsn, _RECOVERING)
            except StatementsFailed:
                row = None
            if row is not None:
                newest = row[1] or newest
                if not row[0]:
                    return newest.astimezone(UTC) if newest else None
                self._report(Step(f"{self._subject}: recovered until {newest or 'its beginning'}", Phase.START))
            await asyncio.sleep(_PAUSE_S)
        words = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
        raise BackendError(f"{self._server} could not be recovered:\n{words}")

    async def _stop(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.to_thread(process.wait, _STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)

    async def remove(self) -> None:
        """The folder, if it has not been decided."""
        await asyncio.to_thread(shutil.rmtree, self.data, True)

    async def decide(self, decided: Decided) -> None:
        """From now on this is the server's data; `finish_restore` puts it in its place."""
        replace_file(self.data / INCARNATION, decided.incarnation.encode(), mode=0o600)
        replace_file(self.data / DECIDED, msgspec.json.encode(decided), mode=0o600)
        for name in (INCARNATION, DECIDED):
            give(self.data / name, self._user)
        await asyncio.to_thread(os.sync)
        os.rename(self.data, restored_folder(self._folder, self._server))
        sync_folder(self.data.parent)


def free_port() -> int:
    """Of a server that lives for minutes and that nobody else is told of."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def pending_incarnation(folder: StackFolder, server: str) -> str | None:
    """Of a restore that was decided and is not in its place yet."""
    try:
        return (restored_folder(folder, server) / INCARNATION).read_text().strip()
    except FileNotFoundError:
        return None


def pending_restore(folder: StackFolder, server: str) -> Decided | None:
    """As `pending_incarnation`, with what was asked for. Raises BackendError for a damaged note."""
    path = restored_folder(folder, server) / DECIDED
    try:
        return msgspec.json.decode(path.read_bytes(), type=Decided)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise BackendError(f"{path} is damaged ({error}): `shardctl up` finishes that restore") from error


def finish_restore(folder: StackFolder, server: str) -> Path | None:
    """Put what was restored in its place; returns where the old data lies now. None: there was nothing to do.

    Raises BackendError while a server runs on the old data.
    """
    incarnation = pending_incarnation(folder, server)
    if incarnation is None:
        return None
    current, kept = folder.data(server), folder.data(f"{server}.before-{incarnation[:8]}")
    if current.exists():
        if (current / "postmaster.pid").exists() and not remove_stale_pid_file(current):
            raise BackendError(f"{server} still runs on the data that was to be replaced: `shardctl down`, then again")
        os.rename(current, kept)
    os.rename(restored_folder(folder, server), current)
    sync_folder(current.parent)
    return kept


def give_tree(root: Path, user: ServerUser | None) -> None:
    if user is not None:
        for path in (root, *root.rglob("*")):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)


def kept_aside(folder: StackFolder, server: str) -> list[tuple[Path, int]]:
    """Data directories that restores have replaced, and their bytes."""
    return [(path, tree_bytes(path)) for path in sorted(folder.data(server).parent.glob(f"{server}.before-*"))]
