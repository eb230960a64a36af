"""`shardctl map show`: which cell owns which users, and what changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_line, print_table


def show(
    history: Annotated[int, typer.Option(help="How many of the newest epochs to show.", min=0, max=1000)] = 5,
    as_json: AsJson = False,
) -> None:
    """Epoch, buckets and pins by cell, and the newest changes: who, when, why."""
    found = open_control().get(f"/v1/map?history={history}")
    if as_json:
        print_json(found)
        return
    print_line(f"epoch {found['epoch']}, lineage {found['lineage']}")
    print_table(
        ("cell", "state", "weight>", "buckets>", "pins>"),
        [(row["cell"], row["state"], row["weight"], row["buckets"], row["pins"]) for row in found["cells"]],
    )
    print_line(f"{found['buckets_unassigned']:,} of 65,536 buckets unassigned")
    if records := found["history"]:
        print_table(
            ("epoch>", "at", "actor", "change", "reason"),
            [(each["epoch"], _time(each), each["actor"], _change(each["change"]), each["reason"]) for each in records],
        )


def _time(record: Mapping[str, Any]) -> str:
    return datetime.fromisoformat(record["made_at"]).isoformat(sep=" ", timespec="seconds")


def _change(change: Mapping[str, Any]) -> str:
    kind, subject = str(change.get("kind", "")), change.get("cell") or change.get("count") or ""
    return f"{kind.replace('_', ' ')} {subject}".strip()
