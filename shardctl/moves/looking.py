"""What there is to see before users move: the map, both cells, the users, holds; and for a dry run how much there is.

Reads only. What changes while people trade (rows, bytes, pauses) is no fact that a plan depends on, and is told apart.
"""

import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from infra.backends.cell_spec import ProcessKind
from infra.topology.shard_map import ShardMap
from shardctl.cell_admin import CellAdmin, CellRefused
from shardctl.errors import NotReachable, Refused
from shardctl.moves.prechecks import CLOCKS_APART_MAX_S, Sighting, apart_s
from shardctl.operations.plan import Document
from shardctl.operations.resources import StackResources

_NO_SUCH_USER = (404, "USER_NOT_FOUND")


async def look_at_users(resources: StackResources, users: Sequence[UUID], to: str) -> Document:
    """The facts of a plan. Raises Refused for a cell that does not answer: it gives nobody away."""
    async with resources.map_store() as store:
        shard_map = await store.load()
    async with resources.move_records() as records:
        held = {hold.user_id: f"by {hold.actor}: {hold.reason}" for hold in await records.holds(users)}
    located = {user: shard_map.locate(user) for user in users}
    cells = {str(cell.cell_id) for cell in located.values() if cell is not None}
    if shard_map.cell(to) is not None:
        cells.add(to)
    async with resources.cells() as admin:
        try:
            sightings = {cell: await _clock_of(resources, admin, cell) for cell in sorted(cells)}
            seen = {cell: await _look_at_cell(resources, admin, shard_map, cell) for cell in sorted(cells)}
            owners = {
                user: None if cell is None else await _owner_state(admin, cell.cell_id, user)
                for user, cell in located.items()
            }
        except NotReachable as error:
            raise Refused(
                f"{error}. A cell that does not answer gives nobody away and takes nobody: only it knows what its "
                "users have. Bring it back (`shardctl up`, `shardctl doctor`) or restore it (`shardctl backup restore`)"
            ) from error
    for cell, facts in seen.items():
        facts["clock_agrees"] = to not in sightings or apart_s(sightings[cell], sightings[to]) <= CLOCKS_APART_MAX_S
    return {
        "known_cells": [str(cell.cell_id) for cell in shard_map.cells],
        "cells": seen,
        "users": {
            str(user): {
                "cell": None if cell is None else str(cell.cell_id),
                "owner_state": owners[user],
                "held": held.get(user),
            }
            for user, cell in located.items()
        },
    }


async def measure(resources: StackResources, where: Iterable[tuple[str, str]]) -> Document:
    """Rows and bytes of users in their cells (pairs of cell and user id), what keeps them from leaving just now, and
    the pause to expect: what the newest moves took. Raises Refused, NotReachable."""
    users = []
    async with resources.cells() as admin:
        for cell, user in where:
            size = await admin.call(cell, "GET", f"/operator/v1/users/{user}/size")
            users.append(
                {
                    "user_id": user,
                    "from": cell,
                    "rows": size["rows"],
                    "bytes": size["bytes"],
                    "unfinished": size.get("unfinished") or {},
                }
            )
    async with resources.move_records() as records:
        pauses_us = await records.pauses_us()
    return {
        "users": users,
        "rows": sum(user["rows"] for user in users),
        "bytes": sum(user["bytes"] for user in users),
        "pause_us": int(statistics.median(pauses_us)) if pauses_us else None,
        "moves_measured": len(pauses_us),
    }


async def _look_at_cell(resources: StackResources, admin: CellAdmin, shard_map: ShardMap, cell: str) -> dict[str, Any]:
    known = shard_map.cell(cell)
    assert known is not None, "it was found in the map"
    servers = [each for each in await resources.backend.plan() if each.cell == cell and each.kind is ProcessKind.API]
    facts = [await resources.backend.readiness_facts(server) for server in servers]
    incarnation = await admin.call(cell, "GET", "/operator/v1/incarnation")
    return {
        "state": known.state.value,
        "code": sorted({str(each.get("code")) for each in facts}),
        "fenced": bool(incarnation["fenced"]),
    }


async def _clock_of(resources: StackResources, admin: CellAdmin, cell: str) -> Sighting:
    asked_s = resources.clock.epoch_s()
    summary = await admin.summary(cell)
    said_s = datetime.fromisoformat(summary["as_of"]).timestamp()
    return Sighting(asked_s, said_s, resources.clock.epoch_s())


async def _owner_state(admin: CellAdmin, cell: str, user: UUID) -> str | None:
    """None: the cell has no such user."""
    try:
        found = await admin.call(cell, "GET", f"/operator/v1/users/{user}")
    except CellRefused as error:
        if (error.status, error.code) != _NO_SUCH_USER:
            raise
        return None
    return str(found["owner_state"])
