"""`shardctl audit export`: the chain as a file."""

from pathlib import Path
from typing import Annotated

import typer

from shardctl.audit.export import write_export
from shardctl.audit.fetch import HEAD_PATH, fetch_rows, moment_of
from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_line
from shardctl.stack.current import open_stack

Since = Annotated[
    str | None, typer.Option(help="From then on: a time with its zone, as 2026-01-31T14:30:00Z, or so long ago: 24h.")
]


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One row as JSON on each line; FILE.manifest.json.")],
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Write the chain, or its newer part, to a file that `audit verify --file FILE` proves without a stack."""
    stack, control = open_stack(), open_control()
    exported_at = str(control.get(HEAD_PATH)["at"])
    manifest = write_export(
        file, fetch_rows(control, moment_of(control, since)), stack=stack.stack, exported_at=exported_at
    )
    if as_json:
        print_json(manifest)
        return
    print_line(f"{file}: rows {manifest.before_number + 1} to {manifest.head_number}, head {manifest.head_hash}")
    print_line(f"prove it anywhere: shardctl audit verify --file {file}")
