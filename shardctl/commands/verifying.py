"""`shardctl audit verify`: the whole chain, proven."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from shardctl.audit.fetch import fetch_rows
from shardctl.audit.head import Head
from shardctl.audit.heads import read_heads
from shardctl.audit.verify import verify_export, verify_rows
from shardctl.audit.walk import Walked
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.errors import Refused
from shardctl.output import print_json, print_line, progress_console
from shardctl.stack.broker import kafka_of
from shardctl.stack.current import open_stack


def verify(
    file: Annotated[
        Path | None, typer.Option("--file", help="An exported file, with its manifest beside it; asks no service.")
    ] = None,
    from_kafka: Annotated[
        bool | None,
        typer.Option(
            "--from-kafka/--no-kafka",
            help="Compare with the heads that were published (default; for --file only if said).",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Walk the whole chain: exit code 1 if a row was edited, deleted, moved, or written anew, with the row's number."""
    wants_heads = from_kafka if from_kafka is not None else file is None
    heads, gone = _published() if wants_heads else ({}, 0)
    with progress_console.status("verifying") as shown:  # on a terminal only
        if file is not None:
            walked, _ = verify_export(file, heads, lambda row: shown.update(f"row {row:,}"))
        else:
            walked = verify_rows(fetch_rows(open_control()), heads, lambda row: shown.update(f"row {row:,}"))
    if as_json:
        print_json({**asdict(walked), "is_intact": walked.is_intact, "heads_deleted": gone, "heads_asked": wants_heads})
    else:
        for line in _verdict(walked, gone=gone, wants_heads=wants_heads):
            print_line(line)
        for finding in walked.findings:
            print_line(f"row {finding.number}: {finding.fault.value.replace('_', ' ')}", style="bold")
            print_line(f"  {finding.detail}")
    if not walked.is_intact:
        raise Refused(
            f"the audit chain is not whole: {walked.findings_total} findings, the first at row "
            f"{walked.findings[0].number}. Keep what is there: `shardctl audit export FILE`"
        )


def _published() -> tuple[Mapping[int, Sequence[Head]], int]:
    stack = open_stack()
    return asyncio.run(read_heads(kafka_of(stack), stack.stack))


def _verdict(walked: Walked, *, gone: int, wants_heads: bool) -> list[str]:
    """In sentences."""
    lines = [f"rows {walked.first:,} to {walked.last:,}, head {walked.head}"]
    if not wants_heads:
        lines.append("not compared with what was published: a tail that was written anew would not show")
    elif walked.heads_compared == 0:
        lines.append("no head was published yet: a tail that was written anew would not show")
    else:
        rest = walked.last - walked.proven_by_heads
        lines.append(
            f"published heads compared: {walked.heads_compared:,}; up to row {walked.proven_by_heads:,} one agrees"
            + (f", the {rest:,} rows after it are proven by the chain alone" if rest > 0 else "")
        )
    if gone:
        lines.append(f"the broker has deleted {gone:,} older heads: the topic's retention was changed")
    if walked.is_intact:
        lines.append("whole: no row was edited, deleted, moved or written anew")
    return lines
