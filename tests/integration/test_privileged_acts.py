"""What operators do to a cell leaves who, when, what and why: every route that changes something does."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from litestar.routes import HTTPRoute

from cell.app import CellApp, create_app
from cell.settings import CellSettings
from infra.runtime.settings import PostgresSettings
from infra.security.keys import generate_key_files
from tests.support.asgi import ask_asgi
from tests.support.bare_cell import Cell
from tests.support.databases import TestDatabase
from tests.support.decisions import fence, quarantined_report, reconcile, waiting_transfer
from tests.support.operator_tokens import bearer

pytestmark = pytest.mark.anyio

DECIDED: LiteralString = "select count(*) from brokerage.share_transfers where decided_by = 'ann'"
RECORDS: dict[tuple[str, str], LiteralString] = {
    ("PUT", "/operator/v1/users/{user_id}/profile"): "select count(*) from brokerage.privileged_acts",
    ("POST", "/operator/v1/users/{user_id}/sessions/end"): "select count(*) from brokerage.privileged_acts",
    ("POST", "/operator/v1/users/{user_id}/unrestrict"): "select count(*) from brokerage.lifted_restrictions",
    ("POST", "/operator/v1/quarantine/{report_id}/retry"): "select count(*) from brokerage.retried_reports",
    ("POST", "/operator/v1/reconcile"): "select count(*) from brokerage.reconciliations",
    ("POST", "/operator/v1/archive"): "select count(*) from brokerage.privileged_acts",
    ("POST", "/operator/v1/users/{user_id}/share-transfers/{transfer_id}/approve"): DECIDED,
    ("POST", "/operator/v1/users/{user_id}/share-transfers/{transfer_id}/refuse"): DECIDED,
}
"""Where the record of each is. A route that is in neither list fails, until somebody has thought about it."""
READS_ONLY = {
    ("POST", "/operator/v1/checks"),
    ("POST", "/operator/v1/reconciliations/comparisons"),
    ("POST", "/operator/v1/leader"),  # keeps a number, of no person and for nobody to decide
    ("POST", "/operator/v1/users/{user_id}/attest"),  # reads and digests
}
MOVES = ("/operator/v1/moves/", "/operator/v1/certificates")
"""Steps of a `users.move`: the operation, its receipt and the cell's own row of the move are their record."""
OPEN = ("POST", "/operator/v1/incarnation/open")  # of a restored cell: a test of their own
RELEASE = ("POST", "/operator/v1/incarnation/release")
BODIES: dict[str, Any] = {
    "/operator/v1/users/{user_id}/profile": {"profile": "professional"},
    "/operator/v1/users/{user_id}/sessions/end": {"begun_before_s": 1_700_000_000},
    "/operator/v1/reconcile": {
        "started_at": "2026-11-20T00:00:00Z", "venue": {"asked": False}, "events": {"asked": False},
    },
    "/operator/v1/archive": {"older_than_days": 30},
}  # fmt: skip
UNREASONED = {"/operator/v1/reconcile"}
"""It changes nothing but the list of what was found."""


@dataclass(frozen=True)
class Desk:
    app: CellApp
    keys: Path

    async def ask(self, method: str, path: str, body: Any = None, why: str | None = "because") -> tuple[int, Any]:
        headers = bearer(self.keys, "cell-1", method, path, "admin", subject="ann", why=why)
        status, _, said = await ask_asgi(self.app.operator, method, path, body, headers=headers)
        return status, said

    def changes(self) -> set[tuple[str, str]]:
        """Every operator route that is not a plain read."""
        return {
            (str(method), route.path_format.rstrip("/"))
            for route in self.app.operator.routes
            if isinstance(route, HTTPRoute) and route.path_format.startswith("/operator/")
            for method in route.methods
            if method in ("POST", "PUT", "PATCH", "DELETE")
        }


@pytest.fixture
async def desk(cell_database: TestDatabase, tmp_path: Path) -> AsyncIterator[Desk]:
    generate_key_files(tmp_path)
    app = create_app(
        CellSettings(name="cell-1", postgres=PostgresSettings(dsn=cell_database.service_dsn), keys_dir=tmp_path)
    )
    async with app.running():
        yield Desk(app, tmp_path)


async def test_each_change_by_an_operator_leaves_its_record(
    desk: Desk, cell: Cell, root: psycopg.Connection[Any]
) -> None:
    changes = {(method, path) for method, path in desk.changes() if not path.startswith(MOVES)}
    assert changes - READS_ONLY - {OPEN, RELEASE} == set(RECORDS)
    user_id = cell.user(cash=100)
    root.execute("update brokerage.users set restricted = true where user_id = %s", [user_id])
    report_id = quarantined_report(root)
    transfers = iter([waiting_transfer(root, user_id, key) for key in ("one", "other")])
    for (method, path), count in RECORDS.items():
        before = root.execute(count).fetchone()
        transfer_id = next(transfers) if "{transfer_id}" in path else None
        asked = path.format(user_id=user_id, report_id=report_id, transfer_id=transfer_id)
        if path not in UNREASONED:
            status, said = await desk.ask(method, asked, BODIES.get(path), why=None)
            assert (status, said["code"]) == (400, "REASON_MISSING"), path
            assert root.execute(count).fetchone() == before
        status, said = await desk.ask(method, asked, BODIES.get(path))
        assert status in (200, 201), (path, said)
        assert before is not None
        assert root.execute(count).fetchone() == (before[0] + 1,), path


async def test_opening_a_restored_cell_and_releasing_a_user_leave_their_record(
    desk: Desk, cell: Cell, root: psycopg.Connection[Any], cell_database: TestDatabase
) -> None:
    user = cell.user(cash=100)
    root.execute("delete from brokerage.outbox")
    fence(cell_database)
    body = {"received_seq": 0, "halted": [str(user)], "despite_findings": True}
    assert (await desk.ask(*OPEN, body, why=None))[0] == 400, "a reason is due"
    assert (await desk.ask(*OPEN, body, why="looked at"))[0] == 409, "nobody has reconciled it"
    reconcile(cell_database, "different")
    assert (await desk.ask(*OPEN, body, why="looked at"))[0] == 200
    with psycopg.connect(cell_database.owner_dsn) as owner:
        acts = owner.execute("select act, actor, reason from brokerage.privileged_acts").fetchall()
        opened = owner.execute("select opened_by, opened_reason, despite from brokerage.incarnations").fetchall()
    assert (acts, opened) == ([("open_cell", "ann", "looked at")], [("ann", "looked at", True)])
    known = {"user_id": str(user), "orders": 5, "ledger": 0, "write_seq": 0}
    assert (await desk.ask(*RELEASE, {"users": [known]}, why=None))[0] == 400, "a reason is due"
    released = await desk.ask(*RELEASE, {"users": [known]}, why="nothing is lost")
    assert released == (200, {"outcomes": {str(user): "released"}})
    kept = "select actor, reason, user_id from brokerage.privileged_acts where act = 'release_restored_user'"
    assert root.execute(kept).fetchall() == [("ann", "nothing is lost", user)]


async def test_archiving_is_recorded_wherever_it_begins(desk: Desk, root: psycopg.Connection[Any]) -> None:
    """The place is the caller's word: a walk that says it goes on may be the first."""
    place = {"user_id": "00000000-0000-0000-0000-000000000001", "seq": 0}
    body = {"older_than_days": 30, "place": place}
    assert (await desk.ask("POST", "/operator/v1/archive", body, why="the tables are full"))[0] == 200
    [(actor, reason, kept)] = root.execute(
        "select actor, reason, details -> 'place' from brokerage.privileged_acts where act = 'archive'"
    ).fetchall()
    assert (actor, reason, kept) == ("ann", "the tables are full", place)


async def test_who_changed_a_profile_and_why_is_shown_with_the_user(desk: Desk, cell: Cell) -> None:
    user_id = cell.user()
    path = f"/operator/v1/users/{user_id}/profile"
    for profile, reason in (("retail", "asked for it"), ("professional", "passed the test")):
        assert (await desk.ask("PUT", path, {"profile": profile}, why=reason))[0] == 200
    _, shown = await desk.ask("GET", f"/operator/v1/users/{user_id}")
    assert [(act["act"], act["actor"], act["reason"], act["details"]) for act in shown["acts"]] == [
        ("set_profile", "ann", "passed the test", {"from": "retail", "to": "professional"}),
        ("set_profile", "ann", "asked for it", {"from": "professional", "to": "retail"}),
    ]


async def test_a_record_is_not_taken_back(cell_database: TestDatabase) -> None:
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as connection:
        for forbidden in ("update brokerage.privileged_acts set reason = 'x'", "delete from brokerage.privileged_acts"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)
