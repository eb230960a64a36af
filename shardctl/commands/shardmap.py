"""`shardctl map ...`: show, publish."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from shardctl.output import print_json, print_line, print_table
from shardctl.shardmap.republish import republish_map
from shardctl.shardmap.store import EpochRecord, open_store
from shardctl.stack.current import control_dsn, open_stack

app = typer.Typer(help="The shard map: which cell owns which users.", no_args_is_help=True)


@app.callback()
def shard_map() -> None:
    """The shard map: which cell owns which users."""


@app.command()
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


@app.command()
def publish(
    reason: Annotated[str | None, typer.Option(help="Why; kept with your name in `shardctl audit list`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the map of the control database to Redis, for instance after Redis was emptied. Harmless to repeat.

    Routers do not wait for it: without Redis they ask the control database.
    """
    epoch = asyncio.run(republish_map(open_stack(), reason))
    if as_json:
        print_json({"epoch": epoch})
    else:
        print_line(f"epoch {epoch} published")


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
