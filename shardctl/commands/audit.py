"""`shardctl audit ...`: list, verify, export."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from shardctl.audit.export import write_export
from shardctl.audit.head import Head
from shardctl.audit.heads import read_heads
from shardctl.audit.queries import LISTED_MAX, PAGE_ROWS
from shardctl.audit.row import AuditRow, row_of
from shardctl.audit.spans import parse_since
from shardctl.audit.verify import verify_export, verify_rows
from shardctl.audit.walk import Walked
from shardctl.commands.submitting import open_control
from shardctl.control_patience import PatientControl
from shardctl.errors import Refused
from shardctl.output import print_json, print_line, progress_console
from shardctl.stack.current import kafka_of, open_stack, stack_clock

app = typer.Typer(help="Audit: who did what, when, why, and how it ended; prove it, export it.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[
    str | None, typer.Option(help="From then on: a time with its zone, as 2026-01-31T14:30:00Z, or so long ago: 24h.")
]
_ROWS_PATH: Final = "/v1/audit/rows"
_COLUMNS: Final = 80
"""Of the narrowest terminal that is meant."""
_INDENT: Final = " " * 10
_OF_THE_REQUEST: Final = frozenset({"idempotency_key", "expected"})
"""Arguments that say how it was asked and not what; `--json` has them."""


@app.callback()
def audit() -> None:
    """Audit: who did what, when, why, and how it ended; prove it, export it."""


@app.command("list")
def list_(
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="Before then; as --since.")] = None,
    actor: Annotated[str | None, typer.Option(help="Of one person, or of `schedule`.")] = None,
    act: Annotated[str | None, typer.Option(help="One kind of act, as cells.cordon.")] = None,
    target: Annotated[str | None, typer.Option(help="Done to this, as cell-1 or a user's id.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=LISTED_MAX, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Attempts and how they ended, newest first. Without an outcome (`?`): it still runs, or was killed."""
    wanted = {"since": _moment(since), "until": _moment(until), "actor": actor, "act": act, "target": target}
    query = urlencode({name: value for name, value in {**wanted, "limit": limit}.items() if value is not None})
    items = open_control().get(f"/v1/audit?{query}")["items"]
    if as_json:
        print_json(items)
        return
    if not items:
        print_line("nothing is recorded" + (" of that kind" if any(wanted.values()) else ""))
        return
    for line in [line for item in items for line in _shown(item)]:
        print_line(line)


@app.command()
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
            walked = verify_rows(_rows(open_control()), heads, lambda row: shown.update(f"row {row:,}"))
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


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One row as JSON on each line; FILE.manifest.json.")],
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Write the chain, or its newer part, to a file that `audit verify --file FILE` proves without a stack."""
    stack, control = open_stack(), open_control()
    exported_at = str(control.get("/v1/audit/head")["at"])
    manifest = write_export(file, _rows(control, _moment(since)), stack=stack.stack, exported_at=exported_at)
    if as_json:
        print_json(manifest)
        return
    print_line(f"{file}: rows {manifest.before_number + 1} to {manifest.head_number}, head {manifest.head_hash}")
    print_line(f"prove it anywhere: shardctl audit verify --file {file}")


def _rows(control: PatientControl, since: str | None = None) -> Iterator[AuditRow]:
    """All, page by page, one page in memory. Raises RowMalformed for what no release of ours answers."""
    after, query = 0, {"since": since} if since else {}
    while True:
        page = control.get(f"{_ROWS_PATH}?{urlencode({'after': after, 'limit': PAGE_ROWS, **query})}")["items"]
        for item in page:
            row = row_of(item)
            after = max(after, row.number)
            yield row
        if len(page) < PAGE_ROWS:
            return


def _published() -> tuple[Mapping[int, Sequence[Head]], int]:
    stack = open_stack()
    return asyncio.run(read_heads(kafka_of(stack), stack.stack))


def _moment(text: str | None) -> str | None:
    """Raises UsageError."""
    return None if text is None else parse_since(text, stack_clock(open_stack()).now()).isoformat()


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


def _shown(item: Mapping[str, Any]) -> list[str]:
    """One attempt, in lines that a terminal of 80 columns shows whole: ids and words are never broken."""
    at = item["at"][:19].replace("T", " ")
    head = f"{item['number']:>8}  {at}Z  {item['outcome'] or '?':<11}  {item['subject']} ({item['role']})"
    arguments = "".join(
        f" {name}={_plain(value)}" for name, value in item["arguments"].items() if name not in _OF_THE_REQUEST
    )
    told = [f"{item['act']} {item['target']}{arguments}", item["reason"] or "", item["detail"] or ""]
    return [head, *(line for text in told if text for line in _wrapped(text))]


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _wrapped(text: str) -> list[str]:
    return wrap(
        text,
        _COLUMNS,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
