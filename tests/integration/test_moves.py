"""A user moves between two real cells' databases, step by step: everything is there, once, and one cell owns them."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cell.move.tables import STAYING, TABLES, UNFINISHED, WORK
from cell.trial_balance import run_trial_balance
from tests.support.bare_cell import Cell
from tests.support.cell_books import CellBooks
from tests.support.databases import Template, TestDatabase
from tests.support.eventually import eventually
from tests.support.two_cells import HandMove, MovingCell, Refused, header_of, reachable, two_cells

pytestmark = pytest.mark.anyio
ORDERS = 80


@pytest.fixture(scope="module")
async def played(cell_template: Template) -> AsyncIterator[tuple[Template, CellBooks]]:
    """Users with a day of trading behind them; the last one has orders at the venue. Played once: every test has a
    copy."""
    with cell_template.clone() as database:
        async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
            books = CellBooks(connection, seed=3)
            await books.open_users(4)
            await books.play(ORDERS)
            for user_id in books.users[:-1]:
                await finish(books, user_id)
        yield dataclasses.replace(cell_template, name=database.name), books


@pytest.fixture
async def cells(
    played: tuple[Template, CellBooks], cell_template: Template, tmp_path: Path
) -> AsyncIterator[list[MovingCell]]:
    """The first has the day, the second is empty."""
    with played[0].clone() as first, cell_template.clone() as second:
        async with two_cells((first, second), tmp_path) as cells:
            yield cells


@pytest.fixture
async def books(played: tuple[Template, CellBooks], cells: list[MovingCell]) -> AsyncIterator[CellBooks]:
    dsn = cells[0].database.service_dsn
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield played[1].on(connection)


@contextmanager
def bare(cell: MovingCell) -> Iterator[Cell]:
    opened = Cell(cell.database.service_dsn)
    with opened.connection:
        yield opened


def deposit(cell: MovingCell, user_id: uuid.UUID) -> str:
    with bare(cell) as opened:
        return opened.deposit([user_id], 1_000_000)[0]


async def finish(books: CellBooks, user_id: uuid.UUID) -> None:
    """The venue ends what is open: nothing of theirs is there any more."""
    query = "select order_id from brokerage.orders where user_id = %s and is_open"
    for _ in range(3):  # the end of one that was being replaced is an answer about its replacement
        await books.route()
        rows = await (await books.connection.execute(query, [user_id])).fetchall()
        ends = [books.report("expired", books.orders[id_], order_id=str(id_)) for (id_,) in rows if id_ in books.orders]
        await books.tell(ends)
    assert not rows


def archive(cell: MovingCell, user_id: uuid.UUID) -> int:
    cell.database.rehearse("100 days")
    with psycopg.connect(cell.database.service_dsn, autocommit=True) as connection:
        connection.execute("select set_config('brokerage.clock_offset', '20 days', false)")
        row = connection.execute(
            "select entries from archive_history_v1(%s, now() + interval '5 days', 0, 40)", [user_id]
        ).fetchone()
    assert row is not None
    return int(row[0])


def everything(cell: MovingCell, user_id: uuid.UUID) -> dict[str, list[str]]:
    """All rows of the user as text, by table, in an order of their own; what is renumbered without its number."""
    found = {}
    with cell.owner() as connection:
        connection.execute("set timezone = 'UTC'")
        for table in TABLES:
            rows = connection.execute(
                f"select t::text from {table.name} t where t.user_id = %s order by 1",
                [user_id],
            ).fetchall()
            found[table.name] = [row[0] for row in rows]
        for name in WORK:
            rows = connection.execute(
                f"select to_jsonb(t) - 'id' from {name} t where t.user_id = %s order by to_jsonb(t)::text",
                [user_id],
            ).fetchall()
            found[name] = sorted(str(row[0]) for row in rows)
        head = connection.execute(
            "select to_jsonb(u) - 'epoch' from brokerage.users u where user_id = %s", [user_id]
        ).fetchone()
        found["brokerage.users"] = [str(head[0] if head else None)]
    return found


async def healthy(cell: MovingCell) -> None:
    async with await psycopg.AsyncConnection.connect(cell.database.service_dsn, autocommit=True) as connection:
        trial = await run_trial_balance(connection)
    assert trial.healthy, [check for check in trial.checks if check.violations]


def test_every_table_keyed_by_user_is_listed_once(cell_database: TestDatabase) -> None:
    """A new table of users fails here until somebody says whether it travels, and how."""
    with psycopg.connect(cell_database.owner_dsn) as connection:
        rows = connection.execute(
            "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " join pg_attribute a on a.attrelid = c.oid and a.attname = 'user_id' and not a.attisdropped"
            " where n.nspname in ('brokerage', 'archive') and c.relkind in ('r', 'p') and not c.relispartition"
        ).fetchall()
    listed = [table.name for table in TABLES] + [*WORK, *UNFINISHED, *STAYING]
    assert sorted(listed) == sorted(row[0] for row in rows)


def test_each_key_is_the_tables_own(cell_database: TestDatabase) -> None:
    with psycopg.connect(cell_database.owner_dsn) as connection:
        for table in TABLES:
            keys = connection.execute(
                "select array_agg(a.attname::text order by k.place) from pg_index i"
                " cross join unnest(i.indkey::int[]) with ordinality k (attnum, place)"
                " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum"
                " where i.indrelid = %s::regclass and i.indisprimary group by i.indexrelid",
                [table.name],
            ).fetchall()
            assert [tuple(row[0]) for row in keys] == [table.key], table.name


async def test_everything_travels_and_both_books_are_right(cells: list[MovingCell], books: CellBooks) -> None:
    source, target = cells
    user_id = books.users[0]
    with source.owner() as owner:
        owner.execute("delete from brokerage.outbox where user_id = %s", [user_id])
    assert archive(source, user_id) > 0
    await books.deposit([user_id], 5_000_000)  # one event that Kafka does not have yet
    before = everything(source, user_id)
    assert all(before[name] for name in ("brokerage.orders", "archive.postings", "brokerage.outbox"))
    move = HandMove(source, target, user_id)
    await move.whole()
    after = everything(target, user_id)
    for name, rows in before.items():
        assert after[name] == rows, name
    assert source.value("select owner_state from brokerage.users where user_id = %s", user_id) == "departed"
    assert source.value("select count(*) from brokerage.outbox where user_id = %s", user_id) == 0
    await healthy(source)
    await healthy(target)


async def test_what_is_written_during_the_copy_comes_with_the_last_look(
    cells: list[MovingCell], books: CellBooks
) -> None:
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id)
    await move.begin()
    await move.arrive()
    await books.deposit([user_id], 1_000_000)
    await move.copy()
    await books.transfer([user_id], "AAPL", 1_000_000, 5)
    first = await move.catch_up()
    await books.deposit([user_id], 2_000_000)
    second = await move.catch_up()
    assert first["changed_rows"] > second["changed_rows"] > 0
    await books.deposit([user_id], 3_000_000)
    last = await move.halt()
    assert 0 < last["changed_rows"] < 10, "one deposit: a key, an entry, its postings"
    before = everything(source, user_id)
    await move.depart()
    await move.activate()
    after = everything(target, user_id)
    assert {name: rows for name, rows in after.items() if name != "brokerage.users"} == {
        name: rows for name, rows in before.items() if name != "brokerage.users"
    }
    await healthy(target)


async def test_a_halt_stops_writes_and_ends_by_itself(cells: list[MovingCell], books: CellBooks) -> None:
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id)
    await move.begin()
    await move.arrive()
    await move.copy()
    await move.catch_up()
    halting = {"user_id": str(user_id), "halt_id": str(move.halt_id), "lease_ms": 1_500, "since": move.mark}
    frame, _ = await source.ask("POST", f"/moves/{move.move_id}/halt", halting)
    assert deposit(source, user_id) == "USER_HALTED"
    move.proof = await move.load(frame)

    async def trades_on() -> bool:
        return deposit(source, user_id) == "accepted"

    await eventually(trades_on)
    with pytest.raises(Refused, match="LEASE_OVER"):
        await move.depart()
    move.halt_id = uuid.uuid4()
    await move.catch_up()  # from the mark before the halt: what was written since is in it
    await move.halt()
    await move.depart()
    await move.activate()
    await healthy(source)
    await healthy(target)
    assert deposit(target, user_id) == "accepted"


async def test_each_step_may_be_repeated_and_an_overtaken_one_does_nothing(
    cells: list[MovingCell], books: CellBooks
) -> None:
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id)
    await move.begin()
    await move.begin()
    await move.arrive()
    await move.arrive()
    await move.copy()
    await move.copy()
    await move.catch_up()
    await move.halt()
    await move.halt()
    certificate = await move.depart()
    assert await move.depart() == certificate
    await move.activate()
    assert (await move.activate())["state"] == "active"
    for late in (move.halt, move.release):
        with pytest.raises(Refused, match="MOVE_CONFLICT"):
            await late()
    with pytest.raises(Refused, match="MOVE_CONFLICT"):
        await move.discard()
    assert [await move.state(cell) for cell in cells] == ["departed", "active"]
    await healthy(target)


async def test_a_request_that_was_overtaken_is_refused(cells: list[MovingCell], books: CellBooks) -> None:
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id)
    path = f"/moves/{move.move_id}"
    begin = {"user_id": str(user_id), "to": "cell-2", "ownership_epoch": 10}
    await source.ask("POST", f"{path}/begin", begin, order="3-1")
    await source.ask("POST", f"{path}/release", {"user_id": str(user_id)}, order="3-9")
    with pytest.raises(Refused, match="a later request"):
        await source.ask("POST", f"{path}/begin", begin, order="3-2")
    assert await move.state(source) == "none"
    await source.ask("POST", f"{path}/begin", begin, order="4-1")
    with pytest.raises(Refused, match="Move-Order"):
        await source.ask("POST", f"{path}/begin", begin, order="soon")


async def test_before_they_left_everything_can_be_given_up(cells: list[MovingCell], books: CellBooks) -> None:
    source, target = cells
    user_id = books.users[0]
    before = everything(source, user_id)
    move = HandMove(source, target, user_id)
    await move.until_halted()
    await move.release()
    await move.discard()
    assert everything(source, user_id) == before
    assert all(not rows for name, rows in everything(target, user_id).items() if name != "brokerage.users")
    assert target.value("select count(*) from brokerage.users where user_id = %s", user_id) == 0
    with pytest.raises(Refused, match="MOVE_CONFLICT"):
        await move.depart()
    assert deposit(source, user_id) == "accepted"


async def test_there_and_back_and_an_aborted_return_leaves_the_tombstone(
    cells: list[MovingCell], books: CellBooks
) -> None:
    source, target = cells
    user_id = books.users[0]
    await HandMove(source, target, user_id, epoch=10).whole()
    back = HandMove(target, source, user_id, epoch=11)
    await back.until_halted()
    await back.release()
    await back.discard()
    tombstone = (
        "select owner_state || ' ' || forward_cell || ' ' || forward_epoch from brokerage.users where user_id = %s"
    )
    assert source.value(tombstone, user_id) == "departed cell-2 10"
    await healthy(source)
    again = HandMove(target, source, user_id, epoch=12)
    before = everything(target, user_id)
    await again.whole()
    after = everything(source, user_id)
    assert {k: v for k, v in after.items() if k != "brokerage.users"} == {
        k: v for k, v in before.items() if k != "brokerage.users"
    }
    with pytest.raises(Refused, match="EPOCH_TOO_LOW"):
        await HandMove(source, target, user_id, epoch=12).begin()
    for cell in cells:
        await healthy(cell)


async def test_whoever_is_not_here_or_not_done_does_not_go(cells: list[MovingCell], books: CellBooks) -> None:
    source, target = cells
    with pytest.raises(Refused, match="USER_NOT_FOUND"):
        await HandMove(source, target, uuid.uuid4()).begin()
    busy = source.value(
        "select user_id from brokerage.orders where is_open and status = 'routed' order by user_id limit 1"
    )
    with pytest.raises(Refused, match="orders at the venue"):
        await HandMove(source, target, busy).begin()
    size = await source.ask("GET", f"/users/{busy}/size")
    assert size["unfinished"]["orders at the venue"] >= 1
    assert size["rows"] == sum(size["tables"].values()) > 50
    user_id = next(user for user in books.users if user != busy)
    await HandMove(source, target, user_id).whole()
    with pytest.raises(Refused, match="MISDIRECTED") as refused:
        await HandMove(source, target, user_id, epoch=11).begin()
    assert refused.value.body["owner"] == "cell-2"


async def test_a_damaged_copy_does_not_become_an_owner(cells: list[MovingCell], books: CellBooks) -> None:
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id)
    await move.begin()
    await move.arrive()
    await move.copy()
    with target.owner() as owner:
        owner.execute(
            "update brokerage.postings set amount_micros = amount_micros + 1 where user_id = %s and entry_seq = 1",
            [user_id],
        )
    frame, _ = await source.ask(
        "POST", f"/moves/{move.move_id}/catch-up", {"user_id": str(user_id), "since": move.mark}
    )
    proof = await move.load(frame)
    digests = {table["table"]: table["digest"] for table in header_of(frame)["tables"]}
    wrong = {name for name, said in proof["tables"].items() if said["digest"] != digests[name]}
    assert wrong == {"brokerage.postings"}
    assert proof["findings"]["cash_equals_postings"] == 1
    assert proof["findings"]["chain_verifies"] == 1
    move.mark = header_of(frame)["snapshot"]
    halting = {"user_id": str(user_id), "halt_id": str(move.halt_id), "lease_ms": 5_000, "since": move.mark}
    frame, _ = await source.ask("POST", f"/moves/{move.move_id}/halt", halting)
    move.proof = await move.load(frame)
    with pytest.raises(Refused, match="MOVE_CONFLICT"):
        await move.depart()
    assert await move.state(source) == "halted"


async def test_only_the_right_certificate_wakes_the_right_copy(cells: list[MovingCell], books: CellBooks) -> None:
    source, target = cells
    first, second = books.users[:2]
    one, two = HandMove(source, target, first), HandMove(source, target, second)
    await one.until_halted()
    await two.until_halted()
    await one.depart()
    two.certificate = one.certificate
    with pytest.raises(Refused, match="CERTIFICATE_REFUSED"):
        await two.activate()
    head, body, signature = one.certificate.split(".")
    one.certificate = f"{head}.{body}.{'A' * len(signature)}"
    with pytest.raises(Refused, match="CERTIFICATE_REFUSED"):
        await one.activate()
    one.certificate = f"{head}.{body}.{signature}"
    await one.activate()
    assert await two.state(target) == "arriving"


async def test_the_movers_role_decides_nothing_by_itself(cell_database: TestDatabase) -> None:
    """It carries rows; who owns a user it can change by the procedures only, and nobody else can call those."""
    with psycopg.connect(cell_database.mover_dsn, autocommit=True) as mover:
        for statement in (
            "update brokerage.users set owner_state = 'active'",
            "delete from brokerage.departures",
            "update brokerage.arrivals set activated_at = now()",
            "delete from brokerage.privileged_acts",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                mover.execute(statement)
    with psycopg.connect(cell_database.service_dsn, autocommit=True) as service:
        for statement in (
            "select depart_v1(gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, '', '')",
            "select purge_copy_v1(gen_random_uuid())",
            "delete from brokerage.orders",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(statement)


async def test_a_long_transaction_of_the_user_is_not_overlooked(cells: list[MovingCell], books: CellBooks) -> None:
    """It has written and not committed when the copy begins: the mark is taken under the user's lock, so it waits."""
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id)
    async with await psycopg.AsyncConnection.connect(source.database.service_dsn) as slow:
        await slow.execute(
            "select outcome from deposit_cash_v1(array[%s], array['slow'], array['f'::bytea], array[7::bigint])",
            [user_id],
        )
        beginning = asyncio.create_task(move.begin())
        waiting = (
            "select count(*) from pg_stat_activity"
            " where application_name like 'cell-1-mover%' and wait_event_type = 'Lock'"
        )

        async def waits() -> bool:
            with psycopg.connect(source.database.superuser_dsn) as root:
                return root.execute(waiting).fetchone() == (1,)

        await eventually(waits)
        await slow.commit()
        await beginning
    await move.arrive()
    await move.copy()
    await move.catch_up()
    await move.halt()
    await move.depart()
    await move.activate()
    assert target.value("select count(*) from brokerage.idempotency_keys where key = 'slow'") == 1
    await healthy(target)


async def test_who_is_arriving_is_sent_back_unless_they_were_sent_here(
    cells: list[MovingCell], books: CellBooks
) -> None:
    """The source's own 421 carries the new epoch: who comes with that waits here, and nobody goes back and forth."""
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id, epoch=10)
    await move.until_halted()
    for method, path in (("GET", "/v1/account"), ("DELETE", f"/v1/orders/{uuid.uuid4()}")):
        status, answered = await target.as_customer(user_id, method, path, epoch=1)
        assert (status, answered["owner"], answered["epoch"]) == (421, "cell-1", 9)
        status, answered = await target.as_customer(user_id, method, path, epoch=10)
        assert (status, answered["code"]) == (503, "USER_HALTED")
    await healthy(target)  # a copy is judged by nobody but its mover
    await move.depart()
    status, answered = await source.as_customer(user_id, "GET", "/v1/account", epoch=1)
    assert (status, answered["owner"], answered["epoch"]) == (421, "cell-2", 10)
    await move.activate()
    assert (await target.as_customer(user_id, "GET", "/v1/account", epoch=10))[0] == 200


async def test_each_cell_answers_for_the_events_that_it_publishes(cells: list[MovingCell], books: CellBooks) -> None:
    """The stream goes on in the next cell's topic behind what this one has published, also there and back."""
    source, target = cells
    user_id = books.users[0]
    with source.owner() as owner:  # as if Kafka had all but the last two
        owner.execute("delete from brokerage.outbox where id < (select max(id) - 1 from brokerage.outbox)")
    last = source.value("select entry_seq from brokerage.users where user_id = %s", user_id)
    await books.deposit([user_id], 1_000_000)
    await HandMove(source, target, user_id, epoch=10).whole()

    async def head(cell: MovingCell) -> Any:
        rows = (await cell.ask("GET", "/reconciliations/event-heads?limit=500"))["items"]
        return next(row for row in rows if row["user_id"] == str(user_id))

    waiting = target.value("select min(entry_seq) from brokerage.outbox where user_id = %s", user_id)
    assert last - 2 < waiting <= last + 1
    left, here = await head(source), await head(target)
    assert left["ledger_published"] == waiting - 1
    assert ["ledger", 1, waiting - 1, "elsewhere"] in here["lost"]
    entries = (
        (await source.ask("GET", "/summary"))["journal_entries"],
        (await target.ask("GET", "/summary"))["journal_entries"],
    )
    travelled = last + 1 - (waiting - 1)
    assert entries == (source.value("select count(*) from brokerage.journal_entries") - travelled, travelled)
    with target.owner() as owner:
        owner.execute("delete from brokerage.outbox where user_id = %s", [user_id])
    await HandMove(target, source, user_id, epoch=11).whole()
    assert (await head(target))["ledger_published"] == last + 1
    assert ["ledger", waiting, last + 1, "elsewhere"] in (await head(source))["lost"]


async def test_if_the_mover_dies_the_source_tells_the_target(
    cells: list[MovingCell], books: CellBooks, tmp_path: Path
) -> None:
    """The user belongs to nobody for some seconds, not for ever; and it needs nobody's token."""
    source, target = cells
    user_id = books.users[0]
    move = HandMove(source, target, user_id)
    await move.until_halted()
    await move.depart()
    assert await move.state(target) == "arriving"

    async def acknowledged() -> bool:
        return bool(source.value("select activated_at from brokerage.departures where user_id = %s", user_id))

    async with reachable(target, tmp_path):
        await eventually(acknowledged)
    assert [await move.state(cell) for cell in cells] == ["departed", "active"]
    assert deposit(target, user_id) == "accepted"
