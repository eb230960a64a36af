"""`cells.add`: a further cell joins a running stack: its database, schema, topics and processes first, the map last.

So no user is ever sent to a cell that never worked. Until it enters the map the operation can be cancelled: a new
cell's processes are stopped and the stack's record is as before; its data directory stays, and is used if the cell is
added again. Repeated for a cell that is there, every step finds its work done.
"""

from dataclasses import asdict, replace
from typing import Final

from infra.backends.backend import start_until_ready
from infra.backends.cell_spec import CellSpec, ProcessKind, SpecInvalid, next_cell_name
from infra.runtime.redis_client import REDIS_FAILURES
from shardctl.cells.provision import migrate_cell
from shardctl.errors import Refused, UsageError
from shardctl.operations.plan import Action, Document, Kind, Plan, PlannedStep, Step, refuse_unknown
from shardctl.operations.resources import StackResources
from shardctl.shardmap.publish import publish_map
from shardctl.shardmap.register import register_cell
from shardctl.shardmap.tell_cells import keys_of_cell, tell_cells

_LONG_S: Final = 180.0
"""A step that makes a data directory, or migrates a database, and may wait a minute for the stack's lock first."""


def parse(arguments: Document) -> Document:
    """Raises UsageError."""
    refuse_unknown(arguments, {"cell": str, "apis": int})
    name, apis = arguments.get("cell"), arguments.get("apis") or 1
    try:
        CellSpec(name or "cell-1", apis)
    except SpecInvalid as error:
        raise UsageError(str(error)) from error
    return {"cell": name, "apis": apis}


async def observe(resources: StackResources, _: Document) -> Document:
    cells = [asdict(cell) for cell in resources.backend.spec().cells]
    return {"is_running": await resources.backend.is_running(), "cells": cells}


def plan(arguments: Document, facts: Document) -> Plan:
    """Raises Refused."""
    if not facts["is_running"]:
        raise Refused("the stack is not running: `shardctl up` first")
    known = {cell["name"]: cell["apis"] for cell in facts["cells"]}
    name = arguments["cell"] or next_cell_name(frozenset(known))
    if known.get(name, arguments["apis"]) != arguments["apis"]:
        raise Refused(f"{name} exists with another number of apis: `shardctl up --apis N` changes that")
    cell = {"cell": name, "apis": arguments["apis"], "is_new": name not in known}
    return Plan(
        name,
        (
            PlannedStep(f"make {name}'s place in the stack", "make", cell, timeout_s=_LONG_S),
            PlannedStep(f"start {name}'s database", "start_database", cell, timeout_s=_LONG_S),
            PlannedStep(f"give {name} its schema", "migrate", cell, timeout_s=_LONG_S),
            PlannedStep(f"make {name}'s topics", "make_topics", cell, timeout_s=_LONG_S),
            PlannedStep(f"start {name}'s processes", "start_processes", cell, timeout_s=_LONG_S),
            PlannedStep(f"enter {name} into the map", "register", cell, is_irrevocable=True),
            PlannedStep("tell the routers", "publish", cell),
        ),
        subjects=(name,),
    )


async def _make(step: Step[StackResources]) -> None:
    cell = _cell(step)
    async with step.resources.changing() as backend:
        spec = backend.spec()
        await backend.create(spec if cell in spec.cells else spec.with_cell(cell))
        keys_of_cell(backend.keys_folder, cell.name)
        await backend.publish_keys()


async def _unmake(step: Step[StackResources]) -> None:
    if not step.arguments["is_new"]:
        return
    cell = _cell(step)
    async with step.resources.map_store() as store:
        if (await store.load()).cell(cell.name) is not None:
            raise Refused(f"{cell.name} is in the map: it is not taken away any more")
    async with step.resources.changing() as backend:
        spec = backend.spec()
        await backend.create(replace(spec, cells=tuple(each for each in spec.cells if each.name != cell.name)))


async def _start_database(step: Step[StackResources]) -> None:
    name = _cell(step).name
    async with step.resources.changing() as backend:
        await start_until_ready(backend, lambda process: process.cell == name and process.kind is ProcessKind.POSTGRES)


async def _migrate(step: Step[StackResources]) -> None:
    async with step.resources.changing() as backend:
        await migrate_cell(backend, _cell(step).name)


async def _make_topics(step: Step[StackResources]) -> Document:
    async with step.resources.changing() as backend:
        return {"made": list(await backend.ensure_topics())}


async def _start_processes(step: Step[StackResources]) -> None:
    name = _cell(step).name
    async with step.resources.changing() as backend:
        await start_until_ready(backend, lambda process: process.cell == name)


async def _register(step: Step[StackResources]) -> Document:
    cell, addresses = _cell(step), step.resources.backend.addresses()
    reason = step.resources.reason or "the cell joins"
    urls = addresses.api_urls(cell), addresses.operator_urls(cell)
    async with step.resources.changing() as backend:
        keys = keys_of_cell(backend.keys_folder, cell.name)
    async with step.resources.map_store() as store:
        shard_map = await register_cell(
            store, await store.load(), cell.name, *urls, signing_keys=keys, by=step.resources.actor, reason=reason
        )
    async with step.resources.changing() as backend:
        await tell_cells(backend, shard_map)
    return {"epoch": shard_map.epoch}


async def _publish(step: Step[StackResources]) -> Document:
    """No failure without Redis: routers read the control database within seconds."""
    async with step.resources.map_store() as store:
        shard_map = await store.load()
    try:
        published = await publish_map(step.resources.backend.addresses().redis_url, shard_map)
    except REDIS_FAILURES:
        published = False
    return {"published": published}


def _cell(step: Step[StackResources]) -> CellSpec:
    return CellSpec(step.arguments["cell"], step.arguments["apis"])


CELLS_ADD: Final[Kind[StackResources]] = Kind(
    name="cells.add",
    version=1,
    summary="A further cell: its database, schema, topics and processes first, the map last. Nobody moves.",
    parse=parse,
    observe=observe,
    plan=plan,
    actions={
        "make": Action(_make, undo=_unmake),
        "start_database": Action(_start_database),
        "migrate": Action(_migrate),
        "make_topics": Action(_make_topics),
        "start_processes": Action(_start_processes),
        "register": Action(_register),
        "publish": Action(_publish),
    },
    needs_reason=True,
)
