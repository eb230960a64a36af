"""The archive of a server's log: which files there are, how far they go without a gap, what its process runs. Pure but
for reading a folder's names.

`pg_receivewal` streams the log into the archive as it is written. Chosen against `archive_command`, which hands over a
file of 16 MB when it is full (so a quiet cell's last hour would be in no archive), and which keeps the log for ever
while it fails: a full disk stops a cell. A slot keeps the log while the archive is away, but never more than
`max_slot_wal_keep_size`; what goes beyond that is a gap, which is seen here, and the cell runs on.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEGMENT_BYTES: Final = 16 * 2**20
"""Of one file of the log, as `initdb` makes it."""
_SEGMENTS_PER_NAME: Final = 2**32 // SEGMENT_BYTES
"""A file's name counts them in hexadecimal below each 4 GiB of log."""
_NAME: Final = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?$")
STATUS_S: Final = 1
"""How often the archive says how far it is; who waits for it to have everything waits about so long."""


def archive_process_name(server: str) -> str:
    return f"{server.removesuffix('-postgres')}-archive"


def archive_command(binaries: Path, folder: Path, dsn: str, slot: str) -> tuple[str, ...]:
    """Not `--synchronous`: each write would wait for a disk that the server may share. What a crash of the whole
    machine takes from the archive, the server still has. `--no-loop`: the supervisor restarts it, and shows it."""
    return (
        str(binaries / "pg_receivewal"), "--directory", str(folder), "--slot", slot, "--no-loop", "--no-password",
        "--status-interval", str(STATUS_S), "--dbname", dsn,
    )  # fmt: skip


def segment_name(timeline: int, number: int) -> str:
    high, low = divmod(number, _SEGMENTS_PER_NAME)
    return f"{timeline:08X}{high:08X}{low:08X}"


@dataclass(frozen=True, slots=True)
class Segments:
    """The files of one timeline in an archive, by number. The last one may be `partial`: it is being written."""

    timeline: int
    complete: frozenset[int]
    partial: frozenset[int]

    def file_name(self, number: int) -> str:
        return segment_name(self.timeline, number) + ("" if number in self.complete else ".partial")

    def run(self, first: int) -> range:
        """The numbers that are there from `first` on, without a gap; a partial one ends it."""
        end = first
        while end in self.complete:
            end += 1
        return range(first, end + (end in self.partial))

    def missing(self, first: int) -> str | None:
        """The name of the first file that is not there, although a later one is."""
        end = self.run(first).stop
        later = any(number >= end for number in self.complete | self.partial)
        return segment_name(self.timeline, end) if later else None


def read_segments(names: Iterable[str], timeline: int) -> Segments:
    """Of a folder's file names, those that are the log of this timeline."""
    found: dict[bool, set[int]] = {False: set(), True: set()}
    for name in names:
        match = _NAME.match(name)
        if match and int(match[1], 16) == timeline:
            found[bool(match[4])].add(int(match[2], 16) * _SEGMENTS_PER_NAME + int(match[3], 16))
    return Segments(timeline, frozenset(found[False]), frozenset(found[True]))


def list_segments(folder: Path, timeline: int) -> Segments:
    return read_segments((path.name for path in folder.iterdir()) if folder.is_dir() else (), timeline)
