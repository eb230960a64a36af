"""The previous release works on what this one makes of the database: its tests, its checks, its readers, its replays.

It comes from the committed list (`tests/migration/releases.txt`) as a checkout of its own. With an empty list this very
commit stands in for it, with a comment more in one routine, so that it has a schema of its own: that proves that the
machinery runs and that two schemas share a database, and nothing about another release.
"""

import json
import os
import subprocess
import sys
import uuid
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.backends.checkout import project_root
from infra.runtime.release_code import release_code
from infra.topology.cells import Cell as MapCell
from infra.topology.identifiers import CellId
from infra.topology.snapshot import encode_map
from shardctl.shardmap.store import open_store
from tests.migration.test_columns_are_carried import MOVES, columns, not_named
from tests.support.bare_cell import Cell
from tests.support.cell_books import CellBooks
from tests.support.databases import TestDatabase
from tests.support.previous_release import PreviousRelease, previous_release

pytestmark = [pytest.mark.anyio, pytest.mark.minutes(2)]

PROCEDURES = (
    "tests/integration/test_write_procedures.py",
    "tests/integration/test_replays.py",
)
ACCEPTANCE = ("tests/acceptance/test_identity.py", "tests/acceptance/test_replace.py")
TESTS_S_MAX = 600
"""On a busy machine; two minutes where nobody else works."""
SCRIPT_S_MAX = 60
AGE = "40 days"


@pytest.fixture(scope="module")
def previous() -> Iterator[PreviousRelease]:
    with previous_release() as found:
        yield found


def test_its_procedures_and_its_stack_work_on_the_tables_of_this_release(
    previous: PreviousRelease, record_property: Any
) -> None:
    """Its own tests, of its own procedures; its databases are brought to its release, then to this one's `pre`."""
    record_property("previous_release", previous.name)
    newer = {"TEST_NEWER_CHECKOUT": str(project_root()), "TEST_NEWER_PYTHON": sys.executable}
    arguments = ("-m", "pytest", *PROCEDURES, *ACCEPTANCE, "-q", "-x", "-p", "no:cacheprovider")
    done = previous.run(arguments, timeout_s=TESTS_S_MAX, environment=newer)
    assert done.returncode == 0, f"{previous.name}:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert " passed" in done.stdout


async def test_it_replays_reads_checks_and_archives_what_this_release_wrote(
    previous: PreviousRelease, cell_database: TestDatabase, control_database: TestDatabase, tmp_path: Path
) -> None:
    scene = await write_scene(cell_database)
    async with open_store(control_database.owner_dsn) as store:
        await store.create_lineage(actor="drill")
        shard_map = await store.add_cell(MapCell(CellId("cell-1")), actor="drill", reason="one cell")
    scene |= {
        "snapshot": b64encode(encode_map(shard_map)).decode(),
        "control_dsn": control_database.service_dsn.partition("?")[0],
    }
    for package, database in (("cell", cell_database), ("shardctl", control_database)):
        let_go_beside(previous, package, database)
    path = tmp_path / "scene.json"
    path.write_text(json.dumps(scene))
    assert_unknown_columns_are_empty(previous, cell_database)
    done = previous.run(("-m", "tests.migration.replay_over", str(path)), timeout_s=SCRIPT_S_MAX)
    assert done.returncode == 0, f"{previous.name}:\n{done.stdout}\n{done.stderr[-4000:]}"
    found = json.loads(done.stdout)
    assert found["again"] == [["accepted", order, True] for order in scene["order_ids"]]
    assert set(found["ours"]) == {"accepted"}
    assert (found["broken_before"], found["broken_after"]) == ({}, {})
    assert {row[0] for row in found["archived"]} == {"archived"}
    assert all(sum(row[column] for row in found["archived"]) > 0 for column in (1, 2, 3)), "of each kind some moved"
    assert found["maps"] == [shard_map.epoch, shard_map.epoch]
    assert found["code"] != release_code("cell").schema
    check_our_own(cell_database, scene)


async def write_scene(database: TestDatabase) -> dict[str, Any]:
    """By this release: traders with a history that may be archived, and three customers with an order each."""
    database.rehearse(AGE)
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection, seed=5)
        await books.open_users(4)
        await books.play(40)
    cell = Cell(database.service_dsn)
    with cell.connection:
        cell.call("select set_reference_prices_v1(array['AAPL'], array[100000000], now())")
        users = [cell.user(cash=10**12) for _ in range(3)]
        keys = [uuid.uuid4().hex for _ in users]
        orders = [cell.place([user], key=key, wait=True)[0][1] for user, key in zip(users, keys, strict=True)]
    with psycopg.connect(database.superuser_dsn, autocommit=True) as root:
        root.execute("delete from brokerage.outbox")
    return {
        "service_dsn": database.service_dsn.partition("?")[0],
        "traders": [str(user) for user in books.users],
        "users": [str(user) for user in users],
        "order_keys": keys,
        "order_ids": [str(order) for order in orders],
        "clock_offset": AGE,
        "archive_before": "2999-01-01T00:00:00Z",
    }


def let_go_beside(previous: PreviousRelease, package: str, database: TestDatabase) -> None:
    """The previous release's code, by its own installer: as it was before this release's `pre`, and still is."""
    command = [str(previous.python), "-m", "tests.migration.go_beside", package, database.owner_dsn]
    environ = os.environ | {"PYTHONPATH": str(previous.root)}
    subprocess.run(command, cwd=previous.root, env=environ, timeout=SCRIPT_S_MAX, check=True, capture_output=True)


def assert_unknown_columns_are_empty(previous: PreviousRelease, database: TestDatabase) -> None:
    """What the previous release's routines do not carry, this release must not have filled."""
    with psycopg.connect(database.superuser_dsn, autocommit=True) as root:
        for (routine, table), ended in MOVES.items():
            path = previous.root / "cell" / "sql" / "procedures" / f"{routine}.sql"
            for name in not_named(path.read_text(), columns(root, f"brokerage.{table}")) - ended:
                count = psycopg.sql.SQL("select count({}) from brokerage.{}")
                filled = root.execute(count.format(psycopg.sql.Identifier(name), psycopg.sql.Identifier(table)))
                assert filled.fetchone() == (0,), (
                    f"{table}.{name} is written, and {routine} of {previous.name} loses it"
                )


def check_our_own(database: TestDatabase, scene: dict[str, Any]) -> None:
    """This release goes on over what the previous one has done."""
    cell = Cell(database.service_dsn)
    with cell.connection:
        for user, key, order in zip(scene["users"], scene["order_keys"], scene["order_ids"], strict=True):
            [row] = cell.place([uuid.UUID(user)], key=key, wait=True)
            assert (row[0], str(row[1]), row[2]) == ("accepted", order, True)
