"""`shardctl map show`: which cell owns which users, and what changed."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from shardctl.output import print_json, print_line, print_table
from shardctl.shardmap.store import EpochRecord, open_store
from shardctl.stack.current import control_dsn, open_stack


def show(
    history: Annotated[int, typer.Option(help="How many of the newest epochs to show.", min=0, max=1000)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Epoch, buckets and pins by cell, and the newest changes: who, when, why."""
    found, records = asyncio.run(_read(history))
    if as_json:
        print_json({**found, "history": [asdict(record) for record in records]})
        return
    print_line(f"epoch {found['epoch']}, lineage {found['lineage']}")
    print_table(
        ("cell", "state", "weight>", "buckets>", "pins>"),
        [(row["cell"], row["state"], row["weight"], row["buckets"], row["pins"]) for row in found["cells"]],
    )
    print_line(f"{found['buckets_unassigned']:,} of 65,536 buckets unassigned")
    if records:
        print_table(
            ("epoch>", "at", "actor", "change", "reason"),
            [(record.epoch, _time(record), record.actor, _change(record), record.reason) for record in records],
        )


async def _read(history: int) -> tuple[dict[str, Any], list[EpochRecord]]:
    async with open_store(control_dsn(open_stack())) as store:
        shard_map = await store.load()
        records = await store.history(history) if history else []
    return shard_map.describe(), records


def _time(record: EpochRecord) -> str:
    return record.made_at.isoformat(sep=" ", timespec="seconds")


def _change(record: EpochRecord) -> str:
    kind, subject = str(record.change.get("kind", "")), record.change.get("cell") or record.change.get("count") or ""
    return f"{kind.replace('_', ' ')} {subject}".strip()
