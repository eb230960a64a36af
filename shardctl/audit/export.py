"""The audit chain as a file: one row as JSON on each line, and beside it a manifest that says where it begins and ends.

The file appears whole or not at all: it is written beside its place and renamed, the manifest first. With both, anybody
can walk the chain without a stack, and without us: the form of the hash is written down (`row.py`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from shardctl.audit.row import AuditRow, RowMalformed, decode_row, encode_row
from shardctl.errors import Refused

FORMAT: Final = "audit-export/1"
_LINE_BYTES_MAX: Final = 1_048_576
"""A row with every text at its limit, each character escaped, has a tenth of it."""


class Manifest(msgspec.Struct, frozen=True):
    """`before`: number and hash of the row before the first one, as its `previous_hash` says; `head`: the last row."""

    format: str
    stack: str
    exported_at: str
    rows: int
    before_number: int
    before_hash: str
    head_number: int
    head_hash: str
    sha256: str
    """Of the file."""


def manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".manifest.json")


def write_export(path: Path, rows: Iterable[AuditRow], *, stack: str, exported_at: str) -> Manifest:
    """Raises Refused: nothing to export, or a file of that name is there."""
    if path.exists() or manifest_path(path).exists():
        raise Refused(f"{path} or its manifest is there already: name another file")
    digest, count = hashlib.sha256(), 0
    first: AuditRow | None = None
    last: AuditRow | None = None
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with half.open("xb") as file:
            for row in rows:
                line = encode_row(row) + b"\n"
                file.write(line)
                digest.update(line)
                first, last, count = first or row, row, count + 1
            file.flush()
            os.fsync(file.fileno())
        if first is None or last is None:
            raise Refused("there is no row of that time: nothing is exported")
        manifest = Manifest(
            FORMAT, stack, exported_at, count, first.number - 1, first.previous_hash, last.number, last.hash,
            digest.hexdigest(),
        )  # fmt: skip
        manifest_path(path).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        half.rename(path)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error
    finally:
        half.unlink(missing_ok=True)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Of an exported file. Raises Refused."""
    try:
        manifest = msgspec.json.decode(manifest_path(path).read_bytes(), type=Manifest)
    except OSError as error:
        raise Refused(f"{manifest_path(path)} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Refused(f"{manifest_path(path)} is no manifest: {error}") from error
    if manifest.format != FORMAT:
        raise Refused(f"{manifest_path(path)} is of format {manifest.format}, not {FORMAT}")
    return manifest


def read_lines(path: Path, feed: Callable[[bytes], None]) -> Iterator[AuditRow | RowMalformed]:
    """Row by row, one in memory; `feed` is given every byte that is read. Raises Refused."""
    try:
        with path.open("rb") as file:
            while line := file.readline(_LINE_BYTES_MAX):
                feed(line)
                try:
                    yield decode_row(line)
                except RowMalformed as error:
                    yield error
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
