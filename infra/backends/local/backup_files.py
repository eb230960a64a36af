"""The files of backups: their folders, the note that makes a copy a backup, what a manifest says, room on the disk."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from infra.backends.backend import BackendError, Phase, Report, Step
from infra.backends.backups import Backup, BackupDamaged, parse_lsn
from infra.backends.local.postgres_tools import VERIFYBACKUP, plain_output, run_tool
from infra.backends.replaced_file import replace_file

NOTE: Final = "backup.json"
MANIFEST: Final = "backup_manifest"
UNFINISHED: Final = "."
"""The first letter of a folder's name until the copy in it is whole."""
_SPARE_BYTES: Final = 512 * 2**20
"""That a backup or a restore leaves free: the databases of the stack write to the same disk meanwhile."""


def make_private(folder: Path, root: Path) -> None:
    """The folder and those above it up to the stack's own, for us alone."""
    for each in (*(above for above in reversed(folder.parents) if above.is_relative_to(root)), folder):
        if each != root:
            each.mkdir(mode=0o700, exist_ok=True)


def read_note(folder: Path) -> Backup | None:
    """None: something that is no backup. Raises BackupDamaged."""
    if folder.name.startswith(UNFINISHED):
        return None
    try:
        return msgspec.json.decode((folder / NOTE).read_bytes(), type=Backup)
    except msgspec.MsgspecError as error:
        raise BackupDamaged(f"{folder / NOTE} is damaged: {error}") from error


def write_note(folder: Path, backup: Backup) -> None:
    replace_file(folder / NOTE, msgspec.json.format(msgspec.json.encode(backup), indent=1), mode=0o600)


def read_range(data: Path) -> tuple[int, int, int]:
    """Timeline, start and end of the log that makes the copy consistent, as the manifest says. Raises BackupDamaged."""
    try:
        manifest: Mapping[str, Any] = json.loads((data / MANIFEST).read_bytes())
        last = manifest["WAL-Ranges"][-1]
        return int(last["Timeline"]), parse_lsn(last["Start-LSN"]), parse_lsn(last["End-LSN"])
    except (OSError, ValueError, LookupError) as error:
        raise BackupDamaged(f"{data / MANIFEST} is damaged: {error}") from error


async def verify_files(binaries: Path, data: Path, subject: str, report: Report, marks: Mapping[str, str]) -> None:
    """Every file of a copy against its manifest, and the log that it carries. Raises BackupDamaged with the
    file, BackendError."""
    command = [str(binaries / VERIFYBACKUP), "--exit-on-error", "--progress", str(data)]

    def show(percent: int) -> None:
        report(Step(f"{subject}: verified {percent} %", Phase.START))

    result = await run_tool(command, show, marks=marks)
    if result.exit_code != 0:
        raise BackupDamaged(f"{data} is damaged: {plain_output(result.output)[-500:]}")


def tree_bytes(folder: Path) -> int:
    """Of all files in it; one that goes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def judge_space(folder: Path, wanted_bytes: int, purpose: str) -> None:
    """Raises BackendError if the disk would be too full afterwards."""
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes + _SPARE_BYTES:
        raise BackendError(
            f"{purpose} takes up to {_mb(wanted_bytes)} and must leave {_mb(_SPARE_BYTES)} free, "
            f"and {folder} has {_mb(free)}: make room, or `shardctl backup prune`"
        )


def _mb(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
