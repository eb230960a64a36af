"""The checks of the books: green on everything the procedures write, and each corruption is found under its name."""

from typing import LiteralString

import psycopg
import pytest

from cell.trial_balance import SAMPLE_ROWS_MAX, TrialBalance, read_checks, run_trial_balance
from tests.support.cell_books import MICROS, SYMBOLS, CellBooks, PlacedOrder
from tests.support.corrupted_books import IN_THE_BOOKS
from tests.support.corrupted_in_pairs import IN_PAIRS
from tests.support.corrupted_records import IN_THE_RECORDS
from tests.support.corrupted_times import IN_THE_TIMES
from tests.support.corruption import Corruption
from tests.support.databases import TestDatabase

pytestmark = pytest.mark.anyio


CORRUPTIONS = (*IN_THE_BOOKS, *IN_THE_RECORDS, *IN_THE_TIMES, *IN_PAIRS)


async def prove(database: TestDatabase) -> TrialBalance:
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        return await run_trial_balance(connection)


async def fill_books(database: TestDatabase, orders: int = 150) -> None:
    """Orders in every state there is, an overdraft, an order not yet sent. So few are enough for each corruption to
    find its row, and all checks are run a hundred times on them."""
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        books = CellBooks(connection, seed=7)
        await books.open_users(40)
        await books.play(orders)
        await overdraw(books)
        await trade_amounts(books)
        await give_way(books)
        waiting = [books.random_order(user_id) for user_id in books.users[:20]]
        assert "accepted" in await books.place(waiting)


async def trade_amounts(books: CellBooks) -> None:
    """Orders by amount on both sides: filled, filled in part, cancelled with a rest, bust, and untouched."""
    for side in ("buy", "sell"):
        orders = await books.place_amounts(books.users[:15], side, 500 * MICROS)
        await books.route()
        halves = [books.fill(order, order.leaves // 2, order.limit_px) for order in orders[:12]]
        assert set(await books.tell(halves)) == {"applied"}
        rests = [books.fill(order, price=order.limit_px) | {"ord_status": "filled"} for order in orders[:6]]
        assert set(await books.tell(rests)) == {"applied"}
        assert set(await books.tell(books.revise(order, "bust") for order in orders[4:8])) == {"applied"}
        assert set(await books.tell(books.report("cancelled", order) for order in orders[8:10])) == {"applied"}


async def give_way(books: CellBooks) -> None:
    """Fills that had no room when their corrections and busts came, and a correction to which that happened."""
    for side, corrected in (("buy", 0), ("sell", 0), ("sell", 5), ("buy", 7)):
        order = PlacedOrder(books.users[-1], books.new_id(), "AAPL", side, SYMBOLS["AAPL"], 10 * MICROS)
        assert await books.place([order]) == ["accepted"]
        await books.route()
        fill = books.fill(order, 6 * MICROS)
        told: dict[str, object] = {"last_qty": corrected * MICROS, "last_px": order.limit_px} if corrected else {}
        revision = books.revise(order, "correct" if corrected else "bust", **told)
        order.last_exec_id = str(revision["exec_id"])
        again, beside = books.revise(order, "bust"), books.fill(order, 5 * MICROS)
        assert await books.tell([beside]) == ["applied"]
        assert await books.tell([fill, revision]) == ["applied", "early" if corrected == 7 else "applied"]
        if corrected == 7:
            assert await books.tell([again]) == ["applied"]


async def overdraw(books: CellBooks) -> None:
    """Cancelled, the money spent on something else, and then the first order fills after all."""
    poor = books.new_id()
    await books._call("select * from open_account_v1(%s, 1, 'retail', 'poor', null, 'x')", poor)
    await books.deposit([poor], 100 * MICROS)
    late = PlacedOrder(poor, books.new_id(), "GME", "buy", 25 * MICROS, 4 * MICROS)
    assert await books.place([late]) == ["accepted"]
    await books.route()
    assert await books.cancel([late]) == ["pending_cancel"]
    await books.route()
    assert await books.tell([books.report("cancelled", late)]) == ["applied"]
    assert await books.place([PlacedOrder(poor, books.new_id(), "GME", "buy", 25 * MICROS, 4 * MICROS)]) == ["accepted"]
    await books.route()
    assert await books.tell([books.fill(late, price=25 * MICROS)]) == ["applied"]


async def test_books_written_by_the_procedures_are_healthy(cell_database: TestDatabase) -> None:
    await fill_books(cell_database, 1_500)
    trial = await prove(cell_database)
    assert {check.name: check.sample for check in trial.checks if check.violations} == {}
    assert trial.healthy
    assert [check.name for check in trial.checks] == [file.name.removesuffix(".sql") for file in read_checks()]


async def test_empty_books_are_healthy(cell_database: TestDatabase) -> None:
    assert (await prove(cell_database)).healthy


TABLES_TOO: LiteralString = """
select set_config('search_path', current_setting('search_path') || ', brokerage', false)
"""


async def test_each_corruption_is_found_by_name(cell_database: TestDatabase) -> None:
    """Every corruption is done and undone in a transaction of its own, so each is seen alone on the same books."""
    await fill_books(cell_database)
    missed = {}
    async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        await connection.execute(TABLES_TOO)
        for corruption in CORRUPTIONS:
            found = await found_by(connection, corruption)
            if not set(corruption.found_by) <= found:
                missed[corruption.name] = sorted(set(corruption.found_by) - found)
    assert missed == {}


async def found_by(connection: psycopg.AsyncConnection[tuple[object, ...]], corruption: Corruption) -> set[str]:
    async with connection.transaction(force_rollback=True):
        changed = await connection.execute(corruption.statement)
        assert changed.rowcount > 0, f"{corruption.name}: the statement changed nothing"
        found = set()
        for check in read_checks():
            cursor = await connection.execute(check.text)
            if await cursor.fetchone() is not None:
                found.add(check.name.removesuffix(".sql"))
        return found


async def test_every_check_is_tried_by_a_corruption() -> None:
    tried = {name for corruption in CORRUPTIONS for name in corruption.found_by}
    assert tried == {file.name.removesuffix(".sql") for file in read_checks()}


async def test_many_violations_are_counted_and_few_shown(cell_database: TestDatabase) -> None:
    await fill_books(cell_database)
    async with await psycopg.AsyncConnection.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        await connection.execute("update brokerage.users set cash_micros = cash_micros + 1")
    trial = await prove(cell_database)
    drift = next(check for check in trial.checks if check.name == "cash_equals_postings")
    assert not trial.healthy
    assert drift.violations == 41
    assert len(drift.sample) == SAMPLE_ROWS_MAX
    assert set(drift.sample[0]) == {"user_id", "cash_micros", "posted_cash", "cash_held_micros", "posted_cash_held"}


async def test_all_checks_see_one_instant_and_write_nothing(cell_database: TestDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(cell_database.service_dsn, autocommit=True) as connection:
        trial = await run_trial_balance(connection, read_checks()[:1])
        assert len(trial.checks) == 1
        row = await (await connection.execute("show transaction_read_only")).fetchone()
        assert row == ("off",), "the limits of the trial end with its transaction"
