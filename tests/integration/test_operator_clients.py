"""What shardctl asks of a real cell and a real exchange: runs, archive, transfers, tapes; and what silence means."""

import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from infra.backends.cell_spec import CellSpec, StackSpec
from infra.backends.local.backend import LocalBackend
from infra.backends.local.folders import StackFolder
from infra.backends.local.record import new_record, save_record
from infra.backends.plan import port_names
from infra.runtime import kafka_consumer
from infra.runtime.clock import SystemClock
from infra.runtime.database import make_pool
from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_consumer import TopicsMissing
from infra.runtime.settings import KafkaSettings, PostgresSettings
from infra.runtime.telemetry import Metrics
from infra.security.roles import Role
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from shardctl.cell_admin import open_cell_admin
from shardctl.cells.archive import archive_piece
from shardctl.cells.archived import ArchiveTotals
from shardctl.errors import NotReachable, Refused
from shardctl.exchange_admin import open_exchange_admin
from shardctl.operations.errors import LeaseLost
from shardctl.operator_tokens import Purpose, Token
from shardctl.reconciliation import venue
from shardctl.reconciliation.events import compare_with_kafka
from shardctl.reconciliation.kept import list_reconciliations
from shardctl.reconciliation.run import reconcile
from shardctl.reconciliation.venue import compare_with_venue
from shardctl.service.metrics import METRICS
from shardctl.service.queries import ControlState
from shardctl.service.watches import Watches
from shardctl.shardmap.store import open_store
from shardctl.token_signing import token_of_step
from shardctl.waiting_transfers import list_waiting
from tests.support.app_server import AppServer, app_server
from tests.support.cell_books import CellBooks
from tests.support.databases import TestDatabase
from tests.support.eventually import eventually
from tests.support.exchange_process import ExchangeProcess
from tests.support.free_port import free_port

pytestmark = pytest.mark.anyio

NO_BROKER = "127.0.0.1:1"


class Scene:
    """A stack of which one app server and the exchange run; there is no Kafka."""

    def __init__(self, backend: LocalBackend, server: AppServer, exchange: ExchangeProcess, dsn: str) -> None:
        self.backend, self.server, self.exchange, self.dsn = backend, server, exchange, dsn

    async def answers(self) -> bool:
        try:
            async with open_cell_admin(self.backend) as admin:
                await admin.summary("cell-1")
        except NotReachable:
            return False
        return True

    async def play(self, orders: int) -> None:
        """Orders in the cell's books that the venue has never seen."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            books = CellBooks(connection, seed=3)
            await books.open_users(3)
            await books.play(orders)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is not there is given up after half a second, not after ten."""
    monkeypatch.setattr(kafka_consumer, "_METADATA_S", 0.5)


@pytest.fixture
async def scene(cell_database: TestDatabase, exchange: ExchangeProcess) -> AsyncIterator[Scene]:
    folder = StackFolder(exchange.keys_dir.parent)  # one operator's keys for both
    folder.ensure()
    with app_server(cell_database, folder.keys) as server:
        spec = StackSpec((CellSpec("cell-1"),), kafka_bootstrap_servers=NO_BROKER)
        ports = {name: free_port() for name in port_names(spec)}
        ports |= {"exchange.operator": exchange.operator_port}
        ports |= {"cell-1-api-1.operator": urlsplit(server.operator_url).port or 0}
        assert set(ports) == set(port_names(spec))
        save_record(folder.record, new_record("mine", spec).with_ports(ports))
        found = Scene(LocalBackend("mine", folder), server, exchange, cell_database.service_dsn)
        await eventually(found.answers, within_s=120, every_s=0.1)  # a process starts, perhaps on a busy machine
        yield found


def of_step(scene: Scene, fence: int | None) -> Token:
    return token_of_step(scene.backend, subject="ann", reason="a test", fence=fence)


async def run_of(scene: Scene) -> dict[str, Any]:
    """As a step of an operation does it."""
    async with open_cell_admin(scene.backend, of_step(scene, 3)) as admin:
        return await reconcile(scene.backend, "cell-1", admin, SystemClock().now())


async def test_a_run_is_incomplete_with_the_reason_until_all_sides_answer(scene: Scene) -> None:
    run = await run_of(scene)
    assert (run["venue"]["asked"], run["venue"]["differences"]) == (True, 0)
    assert run["events"]["asked"] is False
    assert run["events"]["reason"]
    assert run["verdict"] == "incomplete"

    scene.exchange.stop(signal.SIGKILL)
    silent = await run_of(scene)
    assert silent["venue"]["asked"] is False
    assert "the exchange does not answer" in silent["venue"]["reason"]
    runs = await list_reconciliations(scene.backend, "cell-1", 10)
    assert [each["run_id"] for each in runs] == [silent["run_id"], run["run_id"]]

    scene.server.kill()
    with pytest.raises(NotReachable, match="no api of cell-1 answers"):
        await run_of(scene)
    with pytest.raises(Refused, match="there is no cell cell-9; there are: cell-1"):
        await list_reconciliations(scene.backend, "cell-9", 1)


async def test_what_the_venue_does_not_know_stays_different_and_is_read_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venue, "RECHECK_PAUSE_S", 0.0)
    await scene.play(40)
    async with open_cell_admin(scene.backend) as admin, open_exchange_admin(scene.backend) as exchange:
        found = await compare_with_venue("cell-1", admin, exchange)
        assert found.compared == 0
        assert found.differences == len(found.sample) > 10
        assert {row["problem"] for row in found.sample} == {"the venue does not know the order"}
        monkeypatch.setattr(venue, "UNCONFIRMED_MAX", 5)
        at_once = await compare_with_venue("cell-1", admin, exchange)
        assert (at_once.differences, len(at_once.sample)) == (found.differences, 5)
        with pytest.raises((BrokerUnreachable, TopicsMissing)):
            await compare_with_kafka("cell-1", admin, KafkaSettings(bootstrap_servers=NO_BROKER))
    run = await run_of(scene)
    assert (run["verdict"], run["found"]) == ("different", ["venue"])


async def test_an_archive_walk_waiting_transfers_and_tapes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.play(30)
    await every_user_is_walked(scene)
    await transfers_are_listed_page_by_page(scene, monkeypatch)
    await a_tape_is_loaded_once_and_a_broken_one_is_refused(scene)


async def every_user_is_walked(scene: Scene) -> None:
    async with open_cell_admin(scene.backend, of_step(scene, None)) as admin:
        piece = await archive_piece(admin, "cell-1", 7, None, {"users": 5})
        assert (piece.place, piece.unpublished) == (None, False)
        assert ArchiveTotals("cell-1", **piece.counts).entries == 0  # nothing is a week old
        assert piece.counts["users"] >= 5  # counts of the pieces before are added to
        with pytest.raises(Refused, match="cell-1 refused"):
            await archive_piece(admin, "cell-1", 0, None, {})


async def test_a_former_leader_is_refused_by_the_cell_and_a_person_is_not(scene: Scene) -> None:
    announce = ("cell-1", "POST", "/operator/v1/leader")
    async with (
        open_cell_admin(scene.backend, of_step(scene, 7)) as new,
        open_cell_admin(scene.backend, of_step(scene, 6)) as former,
    ):
        assert await former.call(*announce) == {"cell": "cell-1", "leader": 6}
        assert await new.call(*announce) == {"cell": "cell-1", "leader": 7}
        for call in (announce, ("cell-1", "GET", "/operator/v1/summary"), ("cell-1", "POST", "/operator/v1/checks")):
            with pytest.raises(LeaseLost, match="lease 6 is over"):
                await former.call(*call)
        await new.call("cell-1", "GET", "/operator/v1/summary")
    async with open_cell_admin(scene.backend, Purpose("lead", "cell-1", Role.ADMIN)) as person:
        await person.call("cell-1", "GET", "/operator/v1/summary")
        with pytest.raises(Refused, match="only a step of an operation"):
            await person.call(*announce)


async def test_half_done_sign_ups_are_finished_or_freed(scene: Scene, control_database: TestDatabase) -> None:
    await scene.play(1)
    with psycopg.connect(scene.dsn) as connection:
        row = connection.execute("select user_id from brokerage.users limit 1").fetchone()
    assert row is not None
    claims = {"exists": (row[0], "1 hour"), "is nobody": (uuid.uuid4(), "1 hour"), "may come": (uuid.uuid4(), "2 min")}
    async with open_store(control_database.owner_dsn) as store:
        await store.create_lineage()
        cell = Cell(CellId("cell-1"), api_urls=("http://127.0.0.1:1",), operator_urls=("http://127.0.0.1:1",))
        await store.add_cell(cell, actor="ann", reason="a test")
    with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
        for name, (user_id, age) in claims.items():
            root.execute(
                "insert into control.email_claims (email_hash, user_id, cell_id, state, idempotency_key, fingerprint,"
                " claimed_at) values (sha256(%s), %s, 'cell-1', 'pending', %s, sha256(''),"
                " clock_timestamp() - %s::interval)",
                [name.encode(), user_id, name, age],
            )
    async with make_pool(PostgresSettings(dsn=control_database.leader_dsn), "test", size=2) as pool:
        watches = Watches(ControlState(pool), scene.backend, control_database.leader_dsn, Metrics(METRICS))
        assert await watches.finish_sign_ups(1) == 2
        assert await watches.finish_sign_ups(1) == 0
        scene.server.kill()
        with psycopg.connect(control_database.superuser_dsn, autocommit=True) as root:
            root.execute("update control.email_claims set claimed_at = claimed_at - interval '1 hour'")
            assert await watches.finish_sign_ups(1) == 0  # silence is no answer
            left = root.execute("select idempotency_key, state from control.email_claims order by 1").fetchall()
    assert left == [("exists", "active"), ("may come", "pending")]


async def transfers_are_listed_page_by_page(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(scene.dsn, autocommit=True) as connection:
        row = connection.execute("select user_id from brokerage.users limit 1").fetchone()
        assert row is not None
        for key in ("one", "two", "three"):
            connection.execute(
                "select resource_id from transfer_shares_v1(array[%s::uuid], array[%s],"
                " array['\\x01'::bytea], array['AAPL'], array[1000000::bigint], array[1000000::bigint],"
                " p_accept => false, p_wait => true)",
                [row[0], key],
            )
    monkeypatch.setattr("shardctl.cell_admin.PAGE", 2)
    rows = await list_waiting(scene.backend, ("cell-1",))
    assert len({item["transfer_id"] for item in rows}) == 3
    assert {(item["cell"], item["symbol"]) for item in rows} == {("cell-1", "AAPL")}


async def a_tape_is_loaded_once_and_a_broken_one_is_refused(scene: Scene) -> None:
    tape = b"34200.1,1,7,100,1000000,1\n34200.2,4,7,100,1000000,1\n"
    async with open_exchange_admin(scene.backend, Purpose("load_tape", "AAPL", Role.OPERATOR)) as admin:
        first = await admin.load_tape(tape, symbol="AAPL", run="R")
        again = await admin.load_tape(tape, symbol="AAPL", run="R")
        assert (first["new"], again["new"]) == (True, False)
        assert [item["run"] for item in (await admin.tapes())["items"]] == ["R"]
        assert set(await admin.summary()) >= {"orders_by_status", "sessions", "prices"}
        with pytest.raises(Refused, match="the exchange refused"):
            await admin.load_tape(b"no tape", symbol="AAPL", run="S")
        assert (await admin.orders(after="", limit=10))["items"] == []
        assert (await admin.named_orders([str(uuid.uuid4())]))["items"] == []
        scene.exchange.stop(signal.SIGKILL)
        with pytest.raises(NotReachable, match="shardctl logs exchange"):
            await admin.summary()
