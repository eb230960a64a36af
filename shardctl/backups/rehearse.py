"""Rehearse a restore: the newest backup and the log, built beside the running cell, proven, compared, dropped.

The copy's books are proven by every check; each user of the copy is compared with the cell (`python -m cell
compare-copy`); and what the copy has published is looked for in Kafka, event by event. The venue is not asked about the
copy: whoever is equal in copy and cell is compared with it by the cell's own reconciliation, each night.
The cell notices nothing but the disk and the processor that it shares. How long it took until the books were proven is
the recovery time; a real restore stops and starts the cell's processes besides, which takes seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from infra.backends.backend import Backend, BackendError, Report
from infra.backends.cell_spec import Job
from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_consumer import TopicsMissing
from shardctl.backups.coverage import chain, choose, reaches
from shardctl.backups.servers import open_backups, open_restores, server_of
from shardctl.events.published import Head
from shardctl.events.reading import EventsExpired, compare_published, head_of
from shardctl.stack.broker import kafka_of

_JOBS: Final = ("migrate", "prove", "compare-copy", "heads")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    cell: str
    backup: str
    newest_commit_at: datetime | None
    seconds: float
    """From the first look at the backup until the copy was proven, compared and dropped."""
    checks: dict[str, int]
    """Every check that ran, and the rows that it found."""
    source: dict[str, Any]
    """The copy against the cell: users, equal, traded_on, only_in_source, differences, a sample, totals."""
    events: dict[str, Any]
    """The copy against Kafka; `asked` is false, with the reason, if Kafka could not be."""

    def findings(self) -> list[str]:
        """What is wrong with the copy, for people; empty: it would do."""
        found = [f"{name} found {rows} rows" for name, rows in self.checks.items() if rows]
        if count := self.source["differences"]:
            found.append(f"{count} users differ from the cell: {self.source['sample'][0]}")
        if count := self.events.get("differences", 0):
            found.append(f"{count} events differ from those in Kafka")
        return found


async def rehearse_restore(
    backend: Backend,
    cell: str,
    moment: datetime | None,
    report: Report,
    *,
    monotonic: Callable[[], float],
    lease: int | None = None,
) -> Rehearsed:
    """Raises Refused, NotCovered, BackupDamaged, BackendError; nothing of the copy is left."""
    server = server_of(backend, cell)
    backups, restores = open_backups(backend, report, lease), open_restores(backend, report, lease)
    await restores.catch_up(server)
    began_s = monotonic()
    known = backups.backups(server)
    label = choose(reaches(known, await backups.archive_states(server)), moment, None).backup.label
    jobs = tuple(Job("cell", (name,), cell) for name in _JOBS)
    newest, said = await restores.rehearse(server, chain(known, label), moment, jobs=jobs)
    proof, comparison, heads = said[1:]
    seconds = monotonic() - began_s
    events = await _events(backend, cell, read_heads(heads))
    return Rehearsed(cell, label, newest, seconds, proven(proof), last_document(comparison), events)


async def _events(backend: Backend, cell: str, heads: Mapping[bytes, Head]) -> dict[str, Any]:
    """What the copy has certainly published is there, and is its chain. What came after it is no finding."""

    async def of_the_copy() -> Mapping[bytes, Head]:
        return heads

    try:
        found = await compare_published(kafka_of(backend), cell, of_the_copy)
    except (TopicsMissing, BrokerUnreachable, EventsExpired) as error:
        return {"asked": False, "reason": str(error)}
    differences = found.missing + found.broken_links + found.malformed
    return {
        "asked": True,
        "differences": differences,
        "missing": found.missing,
        "broken_links": found.broken_links,
        "malformed": found.malformed,
        "written_since": found.unknown,
    }


def read_heads(output: str) -> dict[bytes, Head]:
    """What `python -m cell heads` printed, without the lines of its log. Pure."""
    lines = (line for line in output.splitlines() if line.startswith('{"user_id"'))
    rows = (msgspec.json.decode(line) for line in lines)
    return {UUID(row["user_id"]).bytes: head_of(row) for row in rows}


def proven(output: str) -> dict[str, int]:
    """The checks by name, of what `python -m cell prove` said. Pure. Raises BackendError."""
    try:
        checks = last_document(output)["checks"]
        return {str(check["name"]): int(check["violations"]) for check in checks}
    except (KeyError, TypeError) as error:
        raise BackendError(f"the checks of the restored copy said nothing: {output[-500:]}") from error


def last_document(output: str) -> dict[str, Any]:
    """A job says what it found in its last line, in JSON. Pure. Raises BackendError."""
    try:
        found: dict[str, Any] = msgspec.json.decode(output.strip().splitlines()[-1])
    except (IndexError, msgspec.DecodeError) as error:
        raise BackendError(f"a job on the restored copy said nothing: {output[-500:]}") from error
    return found
