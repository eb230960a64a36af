"""A quarantined report that a person has judged again: applied when its cause is mended, aside again when it is not,
never applied twice."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cell.executions import inbox as inbox_module
from cell.executions.inbox import Inbox
from cell.operations.queries import QUARANTINE, read_all
from infra.runtime.http_client import HttpClient
from infra.security.keys import generate_key_files
from shardctl.cell_admin import CellAdmin
from shardctl.errors import Refused
from tests.support.app_server import app_server
from tests.support.cell_books import PlacedOrder
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.inbox_scene import QTY, InboxScene, inbox_scene
from tests.support.moved_metrics import assert_moved
from tests.support.operator_tokens import operator_token

pytestmark = pytest.mark.anyio

RETRY = "select inbox_id, order_id from retry_report_v1(%s, 'maria', 'mended', now())"


@pytest.fixture
async def scene(cell_database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InboxScene]:
    monkeypatch.setattr(inbox_module, "LOOK_PERIOD_S", 0.1)
    async with inbox_scene(cell_database) as made:
        yield made


async def aside(scene: InboxScene) -> list[dict[str, Any]]:
    """The quarantine, once one report is in it."""

    async def there() -> bool:
        return (await scene.shown())[1] == 1

    await eventually(there)
    return await read_all(scene.pool, QUARANTINE, [0, 10])


async def retry(scene: InboxScene, report: dict[str, Any]) -> tuple[int, UUID]:
    """The inbox id and the order."""
    [(inbox_id, order_id)] = await (await scene.books.connection.execute(RETRY, [report["id"]])).fetchall()
    return inbox_id, order_id


async def put_aside(scene: InboxScene, database: TestDatabase, order: PlacedOrder, user_id: UUID | None) -> Any:
    """An order's fill in the quarantine; whose order it is may have been unknown."""
    with psycopg.connect(database.superuser_dsn, autocommit=True) as superuser:
        superuser.execute(
            "insert into brokerage.quarantined_reports (reason, user_id, order_id, venue, session, venue_seq, body, at)"
            " values ('by hand', %s, %s, 'exchange', 'cell-1', 999, %s, now())",
            [user_id, order.order_id, Jsonb(scene.books.fill(order, QTY))],
        )
    [report] = await aside(scene)
    return report


async def tell_of_a_stranger(scene: InboxScene, inbox: Inbox) -> dict[str, Any]:
    """A fill of an order that nobody knows, once it is in the quarantine."""
    stranger = await scene.order()
    stranger.order_id = uuid4()
    await scene.tell(inbox, scene.books.fill(stranger, QTY))
    [report] = await aside(scene)
    assert report["order_id"] == stranger.order_id
    return report


async def test_what_a_defect_kept_out_comes_into_the_books(scene: InboxScene, cell_database: TestDatabase) -> None:
    order = await scene.order()
    fill = scene.books.fill(order, QTY)
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as defect:
        defect.execute("alter table brokerage.executions add constraint broken check (last_px_micros < 0)")
        async with scene.working() as inbox, scene.looking(inbox):
            await scene.tell(inbox, fill)
            [report] = await aside(scene)
            assert report["reason"].startswith("cannot be applied")
            defect.execute("alter table brokerage.executions drop constraint broken")
            inbox_id, order_id = await retry(scene, report)
            assert order_id == order.order_id
            await scene.comes_to(order, "filled", 1)
            await scene.tell(inbox, fill)
            await scene.comes_to(order, "filled", 1)
        kept = defect.execute("select quarantine_id, inbox_id, was_aside_for, actor from brokerage.retried_reports")
        assert kept.fetchall() == [(report["id"], inbox_id, report["reason"], "maria")]
    assert await scene.shown() == (0, 0)


async def test_what_is_retried_lets_its_users_later_reports_follow(
    scene: InboxScene, cell_database: TestDatabase
) -> None:
    """The later one is in the worker's hands before the worker knows of the retried one, which goes first."""
    order, later = await scene.order(), None
    while later is None or later.user_id != order.user_id:
        later = await scene.order()
    report = await put_aside(scene, cell_database, order, order.user_id)
    async with scene.working() as inbox:
        await retry(scene, report)
        await scene.tell(inbox, scene.books.fill(later, QTY))
        await scene.is_deferred()
        assert_moved(scene.metrics.render(), "cell_reports_waiting")
        async with scene.looking(inbox):
            await scene.comes_to(order, "filled", 1)
            await scene.comes_to(later, "filled", 1)


async def test_an_order_that_became_known_gets_its_report(scene: InboxScene, cell_database: TestDatabase) -> None:
    order = await scene.order()
    report = await put_aside(scene, cell_database, order, None)
    async with scene.working() as inbox, scene.looking(inbox):
        await retry(scene, report)
        await scene.comes_to(order, "filled", 1)


async def test_what_still_cannot_be_applied_is_aside_again_under_a_new_id(scene: InboxScene) -> None:
    async with scene.working() as inbox, scene.looking(inbox):
        report = await tell_of_a_stranger(scene, inbox)
        await retry(scene, report)
        [again] = await aside(scene)
    assert again["id"] > report["id"]
    assert (again["reason"], again["body"]) == ("unknown order", report["body"])


async def test_operators_retry_with_a_reason_once(
    scene: InboxScene, cell_database: TestDatabase, tmp_path: Path
) -> None:
    async with scene.working() as inbox:
        report = await tell_of_a_stranger(scene, inbox)
    keys, path = tmp_path / "keys", f"/operator/v1/quarantine/{report['id']}/retry"
    generate_key_files(keys)
    with app_server(cell_database, keys) as server:
        async with HttpClient(connections_per_host=2) as http:
            viewer = admin(http, server.operator_url, keys, "viewer")
            operator = admin(http, server.operator_url, keys, "operator")
            await eventually(lambda: answers(viewer))
            with pytest.raises(Refused, match="403"):
                await viewer.call("cell-1", "POST", path)
            with pytest.raises(Refused, match="422"):
                await operator.call("cell-1", "POST", path, {"reason": "in the body"})
            for unknown in (999_999, 0, 2**63):
                other = f"/operator/v1/quarantine/{unknown}/retry"
                with pytest.raises(Refused, match="REPORT_NOT_FOUND"):
                    await operator.call("cell-1", "POST", other)
            done = await operator.call("cell-1", "POST", path)
            assert (done["report_id"], done["order_id"]) == (report["id"], str(report["order_id"]))
            with pytest.raises(Refused, match="may have been retried already"):
                await operator.call("cell-1", "POST", path)


def admin(http: HttpClient, url: str, keys: Path, role: str) -> CellAdmin:
    async def token(request: str) -> str:
        return operator_token(keys, role, subject="maria", why="mended", request=request)

    return CellAdmin(http, {"cell-1": (url,)}, token)


async def answers(admin: CellAdmin) -> bool:
    try:
        return bool(await admin.summary("cell-1"))
    except Exception:  # it is starting
        return False
