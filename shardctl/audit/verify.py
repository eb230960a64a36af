"""Verify the audit chain as the service tells it, or as it was exported, against the heads that were published.

The rows are hashed here, by what was told, and not where they are kept. Heads are read first: a row that was published
is there by then, so while the chain grows nothing is reported that is not wrong.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from shardctl.audit.export import Manifest, read_lines, read_manifest
from shardctl.audit.head import Head
from shardctl.audit.row import AuditRow, RowMalformed
from shardctl.audit.walk import Fault, Walk, Walked

REPORT_ROWS: Final = 1_000
"""Between two words on how far it is."""

Heads = Mapping[int, Sequence[Head]]
Report = Callable[[int], None]
"""Is told the number of a row that was reached."""


def verify_rows(rows: Iterable[AuditRow], heads: Heads, report: Report) -> Walked:
    """From the first row that there ever was."""
    walk = Walk(heads)
    for place, row in enumerate(rows, 1):
        walk.take(row)
        if place % REPORT_ROWS == 0:
            report(walk.last)
    return walk.end()


def verify_export(path: Path, heads: Heads, report: Report) -> tuple[Walked, Manifest]:
    """From where the file begins, which only the manifest says; heads before that, or after its end, are not compared.
    Raises Refused."""
    manifest = read_manifest(path)
    covered = {
        number: found for number, found in heads.items() if manifest.before_number < number <= manifest.head_number
    }
    walk = Walk(covered, (manifest.before_number, manifest.before_hash))
    digest = hashlib.sha256()
    for place, row in enumerate(read_lines(path, digest.update), 1):
        if isinstance(row, RowMalformed):
            walk.report(walk.last + 1, Fault.MALFORMED, f"line {place}: {row}")
            continue
        walk.take(row)
        if place % REPORT_ROWS == 0:
            report(walk.last)
    if (walk.last, walk.hash) != (manifest.head_number, manifest.head_hash):
        walk.report(
            walk.last,
            Fault.CUT_OFF,
            f"the file ends at row {walk.last} ({walk.hash}), its manifest at {manifest.head_number} "
            f"({manifest.head_hash})",
        )
    if digest.hexdigest() != manifest.sha256:
        walk.report(walk.last, Fault.OTHER_FILE, "the file's SHA-256 is not the one in its manifest")
    return walk.end(), manifest
