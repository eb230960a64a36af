"""Read an archive's WAL with `pg_waldump`: is every record whole, where does it end, when was the newest commit.

Recovery takes a damaged record for the end of the log and says nothing. So what it will read is read here before, and
an end that is not where the log ends is a damage, which is named by its file. Reads through links in a folder of its
own: `pg_waldump` does not take the name of a file that is still being written.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from infra.backends.backups import BackupDamaged, format_lsn, parse_lsn
from infra.backends.local.archive import SEGMENT_BYTES, Segments, segment_name
from infra.backends.local.postgres_tools import WALDUMP, run_tool

_COMMIT: Final = re.compile(r"desc: (?:COMMIT|ABORT)(?:_PREPARED)? .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")
_ERROR: Final = re.compile(r"error: error in WAL record at .*")
_NO_FILE: Final = re.compile(r'could not find file "([0-9A-F]{24})"')
_LSN: Final = re.compile(r"\b([0-9A-F]+/[0-9A-F]+)\b")
_PAGE_BYTES: Final = 8_192
"""XLOG_BLCKSZ as PostgreSQL is built everywhere."""
_PAGE_HEADER_BYTES: Final = 24
"""Of a page that is not the first of its file, aligned to eight."""
_TAIL_BYTES_MAX: Final = 1 << 20
"""Of an unfinished record. One that is longer than this is not written by our statements."""


@dataclass(frozen=True, slots=True)
class WalEnd:
    """Where the records end, and when the newest transaction among those read was committed."""

    lsn: int
    newest_commit_at: datetime | None


async def check_wal(binaries: Path, folder: Path, segments: Segments, start_lsn: int) -> WalEnd:
    """Read every record from `start_lsn` to the end of the run of files. Raises BackupDamaged with the file's name."""
    run = segments.run(start_lsn // SEGMENT_BYTES)
    if not run:
        raise BackupDamaged(f"{segment_name(segments.timeline, start_lsn // SEGMENT_BYTES)} is missing in {folder}")
    with _linked(folder, segments, run) as links:
        end_lsn = await _read_to_end(binaries, links, segments, start_lsn, folder, run)
        newest = await _newest_commit(binaries, links, segments, run)
    return WalEnd(end_lsn, newest)


async def newest_commit(binaries: Path, folder: Path, segments: Segments, run: range) -> datetime | None:
    """When the newest transaction was committed; reads back from the last file until it finds one."""
    with _linked(folder, segments, run) as links:
        return await _newest_commit(binaries, links, segments, run)


@contextmanager
def _linked(folder: Path, segments: Segments, run: range) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wal-") as temporary:
        links = Path(temporary)
        for number in run:
            (links / segment_name(segments.timeline, number)).symlink_to(folder / segments.file_name(number))
        yield links


async def _read_to_end(
    binaries: Path, links: Path, segments: Segments, start_lsn: int, folder: Path, run: range
) -> int:
    command = [str(binaries / WALDUMP), "--quiet", "--path", str(links), "--timeline", str(segments.timeline)]
    result = await run_tool([*command, "--start", format_lsn(start_lsn)])
    if result.exit_code == 0 or _next_file_missing(result.output, segments.timeline, run.stop):
        return run.stop * SEGMENT_BYTES
    message = _ERROR.search(result.output)
    if message is None:
        raise BackupDamaged(f"{folder / segments.file_name(run.start)}: {result.output.strip()[-300:]}")
    # The first position is that of the last record that is whole, the last one where no further one was found.
    end_lsn = parse_lsn(_LSN.findall(message[0])[-1])
    last = run[-1]
    if end_lsn // SEGMENT_BYTES < last or not _is_end(folder / segments.file_name(last), end_lsn % SEGMENT_BYTES):
        name = segments.file_name(min(end_lsn // SEGMENT_BYTES, last))
        raise BackupDamaged(f"{folder / name} is damaged: {message[0].removeprefix('error: ')}")
    return end_lsn


def _next_file_missing(output: str, timeline: int, number: int) -> bool:
    """The log ends with its last file, and the next one has not been begun."""
    match = _NO_FILE.search(output)
    return match is not None and match[1] == segment_name(timeline, number)


def _is_end(path: Path, offset: int) -> bool:
    """Is nothing behind `offset` but what one unfinished record can have? The rest of a file is zeros until written."""
    with path.open("rb") as file:
        file.seek(offset)
        tail = file.read()
    written = len(tail.rstrip(b"\0"))
    if written == 0:
        return True
    length = int.from_bytes(tail[:4], "little")
    pages = (length // (_PAGE_BYTES - _PAGE_HEADER_BYTES)) + 2
    return length <= _TAIL_BYTES_MAX and written <= length + pages * _PAGE_HEADER_BYTES


async def _newest_commit(binaries: Path, links: Path, segments: Segments, run: range) -> datetime | None:
    for number in reversed(run):
        name = segment_name(segments.timeline, number)
        result = await run_tool([str(binaries / WALDUMP), "--path", str(links), "--rmgr", "Transaction", name])
        if times := _COMMIT.findall(result.output):
            return max(datetime.fromisoformat(time).replace(tzinfo=UTC) for time in times)
    return None
