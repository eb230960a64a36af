"""`python -m tests.migration.replay_over SCENE`: this release's code over what a newer one wrote; prints JSON.

Run from the previous release's own checkout: by its procedures, checks and readers, on a database that holds both. The
scene is a JSON file that the newer release's drill wrote (`tests/drills/test_previous_release.py`): keep reading what
it says today. What fails is an exception; what differs is in the answer.
"""

import asyncio
import json
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from cell.trial_balance import run_trial_balance
from infra.runtime.dsn import with_code
from infra.runtime.map_source import ControlMapSource
from infra.runtime.release_code import release_code
from infra.topology.snapshot import decode_map
from tests.support.bare_cell import Cell


def on_our_path(dsn: str, package: str) -> str:
    """A DSN that names no path yet, for a session of this release."""
    return with_code(dsn, release_code(package).schema, "previous-release")


def replays(cell: Cell, scene: dict[str, Any]) -> dict[str, list[Any]]:
    """The newer release's orders, asked for again under their keys, and one more of our own."""
    users = [UUID(user) for user in scene["users"]]
    again = [cell.place([user], key=key, wait=True)[0] for user, key in zip(users, scene["order_keys"], strict=True)]
    ours = [cell.place([user], wait=True)[0][0] for user in users]
    return {"again": [[row[0], str(row[1]), row[2]] for row in again], "ours": ours}


def archived(cell: Cell, scene: dict[str, Any]) -> list[list[Any]]:
    """Whole users into the archive, as the worker does at night: what moves rows by named columns."""
    archive = "select state, entries, events, executions from archive_history_v1(%s, %s, 0, 10000)"
    return [list(cell.call(archive, UUID(user), scene["archive_before"])[0]) for user in scene["traders"]]


async def broken_checks(dsn: str) -> dict[str, int]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        trial = await run_trial_balance(connection)
    return {check.name: check.violations for check in trial.checks if check.violations}


def read_maps(scene: dict[str, Any]) -> list[int]:
    """Epochs: of the snapshot as published, and of the control database by our own routine."""
    published = decode_map(b64decode(scene["snapshot"]))
    control = asyncio.run(ControlMapSource(on_our_path(scene["control_dsn"], "shardctl")).read())
    assert control is not None
    return [published.epoch, control.epoch]


def main() -> None:
    scene = json.loads(Path(sys.argv[1]).read_text())
    dsn = on_our_path(scene["service_dsn"], "cell")
    cell = Cell(dsn)
    cell.call("select set_config('brokerage.clock_offset', %s, false)", scene["clock_offset"])
    found: dict[str, Any] = {"code": release_code("cell").schema}
    found |= replays(cell, scene)
    found["broken_before"] = asyncio.run(broken_checks(dsn))
    found["archived"] = archived(cell, scene)
    found["broken_after"] = asyncio.run(broken_checks(dsn))
    found["maps"] = read_maps(scene)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
