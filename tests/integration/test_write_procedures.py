"""What the write procedures promise beyond arithmetic: locks, ownership, privileges, races at the last cent."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from cell.orders.status import TRANSITIONS
from infra.runtime.migrator import read_sql
from tests.support.databases import TestDatabase

PLACE = """
select outcome, resource_id, replayed, figures
  from brokerage.place_orders_v1(%s, %s, %s, %s, %s::text[], %s, %s, %s, %s, %s::bigint[], %s::bigint[], now(),
                                 interval '1 hour', %s)
 order by ordinal
"""
ANY_PRICE = "select brokerage.set_price_bands_v1(array['AAPL'], array[1::bigint], array[1000000000000])"


class Cell:
    """One connection of the service role."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)

    def call(self, query: str, *parameters: object) -> list[Any]:
        cursor = self.connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []

    def user(self, cash: int = 0) -> uuid.UUID:
        user_id = uuid.uuid4()
        opening = "select 1 from brokerage.open_account_v1(%s, 7, 'professional', %s, null, 'x', now())"
        self.call(opening, user_id, str(user_id))
        if cash:
            self.deposit([user_id], cash)
        return user_id

    def deposit(self, users: list[uuid.UUID], amount: int) -> list[str]:
        n = len(users)
        rows = self.call(
            "select outcome from brokerage.deposit_cash_v1(%s, %s, %s, %s, %s::bigint[], now()) order by ordinal",
            users, [uuid.uuid4().hex for _ in users], [b"f"] * n, [uuid.uuid4() for _ in users], [amount] * n,
        )  # fmt: skip
        return [row[0] for row in rows]

    def place(
        self,
        users: list[uuid.UUID],
        *,
        side: str = "buy",
        symbol: str = "AAPL",
        qty: int = 1_000_000,
        px: int | None = 100_000_000,
        key: str | None = None,
        wait: bool = False,
    ) -> list[Any]:
        n = len(users)
        return self.call(
            PLACE,
            users, [key or uuid.uuid4().hex for _ in users], [b"f"] * n, [uuid.uuid4() for _ in users], [None] * n,
            [symbol] * n, [side] * n, ["limit" if px else "market"] * n, ["day"] * n, [qty] * n, [px] * n, wait,
        )  # fmt: skip

    def replace(self, user_id: uuid.UUID, order_id: uuid.UUID, *, qty: int | None = None, px: int | None = None) -> Any:
        return self.call(
            "select outcome, resource_id, replayed, figures from brokerage.replace_orders_v1(%s, %s, %s, %s, %s, "
            "%s::integer[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], now(), false)",
            [user_id], [uuid.uuid4().hex], [b"f"], [order_id], [uuid.uuid4()], [None], [qty], [px], [None], [None],
        )[0]  # fmt: skip

    def transfer(self, user_id: uuid.UUID, qty: int, unit_cost: int = 0) -> str:
        row = self.call(
            "select outcome from brokerage.transfer_shares_v1(%s, %s, %s, %s, %s, %s::bigint[], %s::bigint[], true, "
            "now())",
            [user_id], [uuid.uuid4().hex], [b"f"], [uuid.uuid4()], ["AAPL"], [qty], [unit_cost],
        )[0]  # fmt: skip
        return str(row[0])

    def route(self) -> None:
        while self.call("select 1 from brokerage.claim_instructions_v1(64, now())"):
            pass

    def tell(self, session: str, seq: int, order_id: uuid.UUID, body: str) -> list[Any]:
        """The venue reports; the report is applied."""
        accept = (
            "select inbox_id from brokerage.accept_reports_v1('v', %s, %s::bigint[], %s::uuid[], %s::jsonb[], now())"
        )
        ids = [row[0] for row in self.call(accept, session, [seq], [order_id], [body])]
        return self.call("select outcome from brokerage.apply_reports_v1(%s::bigint[], '2026-11-23', now())", ids)


@pytest.fixture
def cell(cell_database: TestDatabase) -> Iterator[Cell]:
    cell = Cell(cell_database.service_dsn)
    cell.call("select brokerage.set_reference_prices_v1(array['AAPL'], array[100000000], now())")
    with cell.connection:
        yield cell


@pytest.fixture
def root(cell_database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell_database.superuser_dsn, autocommit=True) as connection:
        yield connection


def test_the_tables_of_transitions_are_the_same(cell: Cell) -> None:
    rows = cell.call("select from_status, to_status from brokerage.order_transitions")
    assert set(rows) == {(str(before), str(after)) for before, afters in TRANSITIONS.items() for after in afters}


@pytest.mark.parametrize(
    "table", ["users", "orders", "postings", "journal_entries", "order_events", "positions", "outbox"]
)
def test_the_service_role_writes_through_procedures_only(cell: Cell, table: str) -> None:
    for statement in (f"delete from brokerage.{table}", f"insert into brokerage.{table} default values"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cell.call(statement)


def test_the_auditor_reads_everything_and_changes_nothing(cell_database: TestDatabase) -> None:
    with psycopg.connect(cell_database.auditor_dsn, autocommit=True) as connection:
        assert connection.execute("select count(*) from brokerage.users").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select brokerage.set_reference_prices_v1(array['X'], array[1], now())")


def test_unbalanced_postings_are_refused_by_the_database(cell: Cell, root: psycopg.Connection[Any]) -> None:
    user_id = cell.user(cash=5)
    with pytest.raises(psycopg.DatabaseError) as caught:
        root.execute("insert into brokerage.postings values (%s, 9, 1, 'cash', 'USD', 'credit', 5)", [user_id])
    assert caught.value.sqlstate == "RB900"


def test_two_orders_racing_for_the_last_dollar(cell: Cell, cell_database: TestDatabase) -> None:
    """Sixteen connections, one affordable order: exactly one is accepted, however they interleave."""
    cells = [Cell(cell_database.service_dsn) for _ in range(16)]
    for _ in range(10):
        user_id = cell.user(cash=100_000_000)
        with ThreadPoolExecutor(len(cells)) as threads:
            outcomes = list(threads.map(lambda c, u=user_id: c.place([u], wait=True)[0][0], cells))
        assert sorted(outcomes) == ["INSUFFICIENT_BUYING_POWER"] * 15 + ["accepted"]
        assert cell.call("select cash_micros, cash_held_micros from brokerage.users where user_id = %s", user_id) == [
            (0, 100_000_000)
        ]
    for other in cells:
        other.connection.close()


def test_the_same_key_from_many_servers_at_once_has_one_effect(cell: Cell, cell_database: TestDatabase) -> None:
    cells = [Cell(cell_database.service_dsn) for _ in range(8)]
    user_id = cell.user(cash=10_000_000_000)
    with ThreadPoolExecutor(len(cells)) as threads:
        rows = list(threads.map(lambda c: c.place([user_id], key="one", wait=True)[0], cells))
    assert {row[0] for row in rows} == {"accepted"}
    assert len({row[1] for row in rows}) == 1
    assert sorted(row[2] for row in rows) == [False] + [True] * 7
    assert cell.call("select count(*) from brokerage.orders where user_id = %s", user_id) == [(1,)]
    for other in cells:
        other.connection.close()


def test_a_held_user_is_skipped_and_does_not_stall_the_others(cell: Cell, root: psycopg.Connection[Any]) -> None:
    held, free = cell.user(cash=10**9), cell.user(cash=10**9)
    with root.transaction():
        root.execute("select 1 from brokerage.users where user_id = %s for update", [held])
        outcomes = {row[0] for row in cell.place([held, free])}
        assert [row[0] for row in cell.place([held])] == ["SKIPPED"], "also when nobody else is in the call"
        assert cell.deposit([held], 1) == ["SKIPPED"]
    assert outcomes == {"SKIPPED", "accepted"}
    assert cell.place([held])[0][0] == "accepted"


def test_waiting_for_a_held_user_ends_by_the_lock_timeout(cell: Cell, root: psycopg.Connection[Any]) -> None:
    held = cell.user(cash=10**9)
    cell.call("set lock_timeout = '50ms'")
    with root.transaction():
        root.execute("select 1 from brokerage.users where user_id = %s for update", [held])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            cell.place([held], wait=True)


def test_a_departed_user_is_answered_with_the_hint_and_nothing_is_stored(
    cell: Cell, root: psycopg.Connection[Any]
) -> None:
    user_id = cell.user(cash=10**9)
    root.execute(
        "update brokerage.users set owner_state = 'departed', forward_cell = 'cell-2', forward_epoch = 9 "
        "where user_id = %s",
        [user_id],
    )
    outcome, _, _, figures = cell.place([user_id], key="k")[0]
    assert (outcome, figures) == ("DEPARTED", {"owner": "cell-2", "epoch": 9})
    assert cell.deposit([user_id], 1) == ["DEPARTED"]
    assert cell.call("select 1 from brokerage.idempotency_keys where user_id = %s and key = 'k'", user_id) == []


def test_a_halt_stops_writes_until_its_lease_ends(cell: Cell, root: psycopg.Connection[Any]) -> None:
    user_id = cell.user(cash=10**9)
    halt = (
        "update brokerage.users set owner_state = 'halted', halt_id = %s, "
        "lease_ends_at = clock_timestamp() + %s::interval where user_id = %s"
    )
    root.execute(halt, [uuid.uuid4(), "1 hour", user_id])
    assert cell.place([user_id])[0][0] == "USER_HALTED"
    root.execute(halt, [uuid.uuid4(), "-1 second", user_id])
    assert cell.place([user_id])[0][0] == "accepted"
    row = cell.call("select owner_state, halt_id, lease_ends_at from brokerage.users where user_id = %s", user_id)
    assert row == [("active", None, None)]


def test_a_lease_that_ends_while_a_write_waits_for_the_lock_does_not_look_valid(
    cell: Cell, cell_database: TestDatabase, root: psycopg.Connection[Any]
) -> None:
    """The write begins while the lease runs, waits, and gets the lock after its end: the halt is over by then."""
    user_id = cell.user(cash=10**9)
    with ThreadPoolExecutor(1) as threads:
        with root.transaction():
            root.execute(
                "update brokerage.users set owner_state = 'halted', halt_id = gen_random_uuid(), "
                "lease_ends_at = clock_timestamp() + interval '300 ms' where user_id = %s",
                [user_id],
            )
            waiting = threads.submit(cell.place, [user_id], wait=True)
            root.execute("select pg_sleep(0.6)")
        assert waiting.result()[0][0] == "accepted"


def test_an_unknown_user_is_not_found(cell: Cell) -> None:
    assert cell.place([uuid.uuid4()])[0][0] == "NOT_FOUND"


def test_one_broken_command_among_many_has_its_own_outcome(cell: Cell) -> None:
    rich, poor, nobody = cell.user(cash=10**9), cell.user(), uuid.uuid4()
    assert [row[0] for row in cell.place([rich, poor, nobody])] == [
        "accepted",
        "INSUFFICIENT_BUYING_POWER",
        "NOT_FOUND",
    ]


def test_a_refusal_by_the_account_stays_a_refusal_under_its_key(cell: Cell) -> None:
    user_id = cell.user()
    assert cell.place([user_id], key="k")[0][0] == "INSUFFICIENT_BUYING_POWER"
    cell.deposit([user_id], 10**9)
    outcome, _, replayed, _ = cell.place([user_id], key="k")[0]
    assert (outcome, replayed) == ("INSUFFICIENT_BUYING_POWER", True)


def test_a_gap_in_the_venues_sequence_is_refused_whole(cell: Cell) -> None:
    accept = (
        "select received_seq from brokerage.accept_reports_v1('v', 's', %s::bigint[], %s::uuid[], %s::jsonb[], now())"
    )
    cell.call(accept, [1, 2], [uuid.uuid4(), uuid.uuid4()], ["{}", "{}"])
    with pytest.raises(psycopg.DatabaseError) as caught:
        cell.call(accept, [4], [uuid.uuid4()], ["{}"])
    assert caught.value.sqlstate == "RB020"
    assert cell.call(accept, [1, 2], [uuid.uuid4(), uuid.uuid4()], ["{}", "{}"]) == [(2,)]
    assert cell.call("select count(*) from brokerage.inbox") == [(2,)]


def test_a_late_fill_after_the_money_was_spent_again_restricts_and_posts(cell: Cell) -> None:
    """Cancelled, spent again, then the venue reports the fill after all: reality posts, the account is restricted."""
    user_id = cell.user(cash=100_000_000)
    order_id = cell.place([user_id])[0][1]
    cell.call("select 1 from brokerage.claim_instructions_v1(64, now())")
    accept = "select inbox_id from brokerage.accept_reports_v1('v', %s, %s::bigint[], %s::uuid[], %s::jsonb[], now())"
    apply = "select outcome from brokerage.apply_reports_v1(%s::bigint[], '2026-11-23', now())"
    session = user_id.hex

    def tell(seq: int, body: str) -> list[Any]:
        return cell.call(apply, [row[0] for row in cell.call(accept, session, [seq], [order_id], [body])])

    assert tell(1, '{"kind": "cancelled"}') == [("applied",)]
    assert cell.place([user_id])[0][0] == "accepted"
    fill = '{"kind": "fill", "trade_date": "2026-11-20", "exec_id": "e", "last_qty": 1000000, "last_px": 100000000}'
    assert tell(2, fill) == [("applied",)]
    account = cell.call(
        "select cash_micros, cash_held_micros, restricted from brokerage.users where user_id = %s", user_id
    )
    assert account == [(-100_000_000, 100_000_000, True)]
    assert cell.place([user_id], px=1_000_000)[0][0] == "ACCOUNT_RESTRICTED"
    for check in read_sql("cell", "checks"):
        assert cell.call(check.text) == [], check.name


def fill_of(qty: int, px: int) -> str:
    body = {"kind": "fill", "trade_date": "2026-11-20", "exec_id": uuid.uuid4().hex, "last_qty": qty, "last_px": px}
    return json.dumps(body)


def oversold(cell: Cell) -> uuid.UUID:
    """Ten shares sold, cancelled, sold again, and the first sale happened after all: ten are owed, by three reports."""
    user_id = cell.user(cash=10_000_000_000)
    cell.transfer(user_id, 10_000_000, 50_000_000)
    first = cell.place([user_id], side="sell", qty=10_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 1, first, '{"kind": "cancelled"}')
    second = cell.place([user_id], side="sell", qty=10_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 2, first, fill_of(10_000_000, 100_000_000))
    cell.tell(user_id.hex, 3, second, fill_of(10_000_000, 100_000_000))
    return user_id


def test_a_restricted_account_that_owes_shares_may_buy_them_back_and_no_more(cell: Cell) -> None:
    """Sold, cancelled, sold again, then the first sale happened after all: ten shares are owed, and can be bought."""
    user_id = oversold(cell)
    position = "select qty_micros, cost_basis_micros from brokerage.positions where user_id = %s"
    assert cell.call(position, user_id) == [(-10_000_000, 0)]
    assert cell.place([user_id], qty=10_000_001)[0][0] == "ACCOUNT_RESTRICTED"
    outcome, closing, *_ = cell.place([user_id], qty=6_000_000)[0]
    assert outcome == "accepted"
    assert cell.place([user_id], qty=4_000_001)[0][0] == "ACCOUNT_RESTRICTED", "six of the ten are ordered already"
    other = cell.place([user_id], qty=3_000_000, px=90_000_000)[0][1]
    assert cell.replace(user_id, other, qty=4_000_001)[0] == "ACCOUNT_RESTRICTED"
    outcome, other, *_ = cell.replace(user_id, other, qty=4_000_000)
    assert outcome == "accepted"
    assert cell.replace(user_id, other, px=95_000_000)[0] == "accepted"
    cell.route()
    cell.tell(user_id.hex, 4, closing, fill_of(6_000_000, 100_000_000))
    assert cell.call(position, user_id) == [(-4_000_000, 0)], "what closes is no part of a position's cost"
    cell.transfer(user_id, 5_000_000, 70_000_000)
    assert cell.call(position, user_id) == [(1_000_000, 70_000_000)]
    for check in read_sql("cell", "checks"):
        assert cell.call(check.text) == [], check.name


LIFT = "select outcome, figures from brokerage.lift_restriction_v1(%s, 'maria', 'paid', now())"


def overdrawn(cell: Cell) -> uuid.UUID:
    """A user who owes 100 dollars: cancelled, spent again, and filled after all."""
    user_id = cell.user(cash=100_000_000)
    order_id = cell.place([user_id])[0][1]
    cell.route()
    cell.tell(user_id.hex, 1, order_id, '{"kind": "cancelled"}')
    assert cell.place([user_id])[0][0] == "accepted"
    cell.tell(user_id.hex, 2, order_id, fill_of(1_000_000, 100_000_000))
    return user_id


def test_a_restriction_is_lifted_when_nothing_is_owed_and_not_before(cell: Cell) -> None:
    user_id = overdrawn(cell)
    assert cell.call(LIFT, user_id) == [("STILL_OWED", {"cash": -100_000_000, "shares": {}})]
    cell.deposit([user_id], 99_999_999)
    assert cell.call(LIFT, user_id) == [("STILL_OWED", {"cash": -1, "shares": {}})]
    cell.deposit([user_id], 1)
    assert cell.place([user_id], qty=1)[0][0] == "ACCOUNT_RESTRICTED", "paying is not enough: somebody looks"
    assert cell.call(LIFT, user_id) == [("lifted", None)]
    assert cell.call(LIFT, user_id) == [("NOT_RESTRICTED", None)]
    kept = cell.call("select actor, reason, write_seq from brokerage.lifted_restrictions where user_id = %s", user_id)
    head = cell.call("select write_seq, restricted from brokerage.users where user_id = %s", user_id)
    assert (kept, head) == ([("maria", "paid", head[0][0])], [(head[0][0], False)])
    cell.deposit([user_id], 100_000_000)
    assert cell.place([user_id])[0][0] == "accepted"
    for check in read_sql("cell", "checks"):
        assert cell.call(check.text) == [], check.name


def test_owed_shares_keep_a_restriction_and_are_named(cell: Cell) -> None:
    user_id = cell.user(cash=10_000_000_000)
    cell.transfer(user_id, 10_000_000)
    first = cell.place([user_id], side="sell", qty=10_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 1, first, '{"kind": "cancelled"}')
    second = cell.place([user_id], side="sell", qty=4_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 2, first, fill_of(10_000_000, 100_000_000))
    assert cell.call(LIFT, user_id) == [("STILL_OWED", {"cash": 10_999_999_999 + 1, "shares": {"AAPL": -4_000_000}})]
    cell.tell(user_id.hex, 3, second, '{"kind": "cancelled"}')
    assert cell.call(LIFT, user_id) == [("lifted", None)], "what was promised to the venue came back unsold"


def test_nobody_lifts_a_restriction_of_a_user_who_is_elsewhere(cell: Cell, root: psycopg.Connection[Any]) -> None:
    assert cell.call(LIFT, uuid.uuid4()) == [("NOT_FOUND", None)]
    user_id = cell.user()
    root.execute("update brokerage.users set restricted = true, owner_state = 'halted', "
                 "lease_ends_at = clock_timestamp() + interval '1 hour' where user_id = %s", [user_id])  # fmt: skip
    assert cell.call(LIFT, user_id)[0][0] == "USER_HALTED"
    root.execute("update brokerage.users set owner_state = 'departed', forward_cell = 'cell-2', forward_epoch = 9 "
                 "where user_id = %s", [user_id])  # fmt: skip
    assert cell.call(LIFT, user_id) == [("DEPARTED", {"owner": "cell-2", "epoch": 9})]


def test_ended_and_expired_logins_are_forgotten_in_small_steps(cell: Cell, root: psycopg.Connection[Any]) -> None:
    user_id = cell.user()
    root.execute(
        """insert into brokerage.refresh_families (user_id, family_id, current_hash, created_at, expires_at, ended_at)
           select %s, gen_random_uuid(), 'x', now(), now() + make_interval(days => e), now() + make_interval(days => d)
             from (values (-9, null::int), (-8, -20), (20, -8), (20, null), (20, -1), (-1, null)) v (e, d),
                  generate_series(1, 5)""",
        [user_id],
    )
    prune = "select brokerage.prune_refresh_families_v1(now() - interval '7 days', 4)"
    deleted: list[int] = []
    while not deleted or deleted[-1]:
        deleted.append(cell.call(prune)[0][0])
    assert sum(deleted) == 15
    assert max(deleted) <= 8
    left = "select count(*), count(ended_at) from brokerage.refresh_families where user_id = %s"
    assert cell.call(left, user_id) == [(15, 5)], "young ones stay: those that end, expire, or are in use"


def test_sales_cannot_bring_in_more_than_a_balance_can_hold(cell: Cell) -> None:
    cell.call("select brokerage.set_reference_prices_v1(array['AAPL'], array[99000000], now())")
    cell.call(ANY_PRICE)
    user_id = cell.user(cash=1)
    accepted = 0
    for _ in range(12):
        assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
        outcome = cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0]
        accepted += outcome == "accepted"
    assert (accepted, outcome) == (10, "BALANCE_LIMIT"), "valued at what the market pays, not at the limit"
    cell.call("select brokerage.set_reference_prices_v1(array['AAPL'], array[185000000], now())")
    outcome = cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0]
    assert outcome == "ORDER_VALUE_LIMIT"


def test_a_replacement_cannot_be_worth_more_than_an_order_or_a_balance(cell: Cell) -> None:
    cell.call(ANY_PRICE)
    user_id = cell.user(cash=1)
    assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
    order_id = cell.place([user_id], side="sell", qty=1_000_000, px=1_000_000)[0][1]
    assert cell.replace(user_id, order_id, qty=1_000_000_000_000_000, px=1_000_000)[0] == "accepted"
    cell.call("select brokerage.set_reference_prices_v1(array['AAPL'], array[100010000], now())")
    user_id = cell.user(cash=1)
    assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
    order_id = cell.place([user_id], side="sell", qty=1_000_000, px=1_000_000)[0][1]
    assert cell.replace(user_id, order_id, qty=1_000_000_000_000_000)[0] == "ORDER_VALUE_LIMIT", "at the market's price"
    cell.call("select brokerage.set_reference_prices_v1(array['AAPL'], array[99000000], now())")
    for _ in range(9):
        assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
        assert cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0] == "accepted"
    assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
    assert cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0] == "accepted"
    assert cell.replace(user_id, order_id, qty=999_000_000_000_000)[0] == "BALANCE_LIMIT"


def test_a_corrected_purchase_of_owed_shares_leaves_the_books_closed(cell: Cell) -> None:
    """The price, then the quantity of a fill that bought shares back is corrected, and then it is taken back."""
    user_id = oversold(cell)
    closing = cell.place([user_id], qty=8_000_000, px=110_000_000)[0][1]
    cell.route()
    fill = {"trade_date": "2026-11-20", "kind": "fill", "exec_id": "a", "last_qty": 7_000_000, "last_px": 110_000_000}
    lower = fill | {"kind": "correct", "exec_id": "b", "exec_ref_id": "a", "last_px": 90_000_000}
    fewer = lower | {"exec_id": "c", "exec_ref_id": "b", "last_qty": 3_000_000}
    bust = {"trade_date": "2026-11-20", "kind": "bust", "exec_id": "d", "exec_ref_id": "c"}
    owed = []
    for seq, report in enumerate([fill, lower, fewer, bust], 4):
        assert cell.tell(user_id.hex, seq, closing, json.dumps(report)) == [("applied",)]
        owed += cell.call("select qty_micros, cost_basis_micros from brokerage.positions where user_id = %s", user_id)
        for check in read_sql("cell", "checks"):
            assert cell.call(check.text) == [], (check.name, report)
    assert owed == [(-3_000_000, 0), (-3_000_000, 0), (-7_000_000, 0), (-10_000_000, 0)]


def test_of_a_corrected_purchase_only_what_goes_beyond_the_debt_has_a_basis(cell: Cell) -> None:
    """Ten shares are owed, sixteen bought at once: six have a cost, through every correction, until the bust."""
    user_id = cell.user(cash=10_000_000_000)
    cell.transfer(user_id, 10_000_000, 50_000_000)
    first = cell.place([user_id], side="sell", qty=10_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 1, first, '{"kind": "cancelled"}')
    second = cell.place([user_id], side="sell", qty=10_000_000)[0][1]
    closing = cell.place([user_id], qty=16_000_000, px=110_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 2, first, fill_of(10_000_000, 100_000_000))
    cell.tell(user_id.hex, 3, second, fill_of(10_000_000, 100_000_000))
    fill = {"trade_date": "2026-11-20", "kind": "fill", "exec_id": "a", "last_qty": 16_000_000, "last_px": 110_000_000}
    lower = fill | {"kind": "correct", "exec_id": "b", "exec_ref_id": "a", "last_px": 90_000_000}
    fewer = lower | {"exec_id": "c", "exec_ref_id": "b", "last_qty": 12_000_000}
    none = fewer | {"exec_id": "d", "exec_ref_id": "c", "last_qty": 9_000_000}
    more = none | {"exec_id": "e", "exec_ref_id": "d", "last_qty": 13_000_000}
    bust = {"trade_date": "2026-11-20", "kind": "bust", "exec_id": "f", "exec_ref_id": "e"}
    seen = []
    for seq, report in enumerate([fill, lower, fewer, none, more, bust], 4):
        assert cell.tell(user_id.hex, seq, closing, json.dumps(report)) == [("applied",)]
        seen += cell.call("select qty_micros, cost_basis_micros from brokerage.positions where user_id = %s", user_id)
        for check in read_sql("cell", "checks"):
            assert cell.call(check.text) == [], (check.name, report)
    dollar = 1_000_000
    assert seen == [
        (6_000_000, 660 * dollar),
        (6_000_000, 540 * dollar),
        (2_000_000, 180 * dollar),
        (-1_000_000, 0),
        (3_000_000, 270 * dollar),
        (-10_000_000, 0),
    ]


def test_a_bust_of_a_purchase_that_paid_a_debt_leaves_other_shares_their_basis(cell: Cell) -> None:
    user_id = cell.user(cash=10_000_000_000)
    cell.transfer(user_id, 10_000_000, 50_000_000)
    first = cell.place([user_id], side="sell", qty=10_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 1, first, '{"kind": "cancelled"}')
    second = cell.place([user_id], side="sell", qty=4_000_000)[0][1]
    closing = cell.place([user_id], qty=4_000_000)[0][1]
    cell.route()
    cell.tell(user_id.hex, 2, first, fill_of(10_000_000, 100_000_000))
    cell.tell(user_id.hex, 3, second, fill_of(4_000_000, 100_000_000))
    fill = {"trade_date": "2026-11-20", "kind": "fill", "exec_id": "a", "last_qty": 4_000_000, "last_px": 90_000_000}
    assert cell.tell(user_id.hex, 4, closing, json.dumps(fill)) == [("applied",)]
    cell.transfer(user_id, 10_000_000, 70_000_000)
    bust = {"trade_date": "2026-11-20", "kind": "bust", "exec_id": "b", "exec_ref_id": "a"}
    assert cell.tell(user_id.hex, 5, closing, json.dumps(bust)) == [("applied",)]
    position = cell.call("select qty_micros, cost_basis_micros from brokerage.positions where user_id = %s", user_id)
    assert position == [(6_000_000, 700_000_000)], "the purchase had no basis, so its end takes none"
    for check in read_sql("cell", "checks"):
        assert cell.call(check.text) == [], check.name


@pytest.mark.parametrize(
    ("reference", "collar"),
    [(980_000, 1_020_000), (900_000, 945_000), (100, 100), (1_000_000, 1_050_000), (228_453_300, 239_870_000)],
)
def test_the_collar_of_a_market_buy_is_a_price_that_a_venue_takes(cell: Cell, reference: int, collar: int) -> None:
    cell.call("select brokerage.set_reference_prices_v1(array['EDGE'], array[%s::bigint], now())", reference)
    user_id = cell.user(cash=10**12)
    outcome, _, _, figures = cell.place([user_id], symbol="EDGE", px=None)[0]
    assert (outcome, figures["hold_px"]) == ("accepted", collar)


def test_reports_of_a_user_are_applied_in_order_even_when_told_at_once(cell: Cell) -> None:
    user_id = cell.user(cash=500_000_000)
    order_id = cell.place([user_id])[0][1]
    cell.route()
    told = [
        {"kind": "accepted", "venue_order_id": "V1"},
        {"kind": "accepted", "venue_order_id": "V2"},
        {
            "kind": "fill",
            "exec_id": "e1",
            "trade_date": "2026-11-20",
            "last_qty": 1_000_000,
            "last_px": 99_000_000,
            "leaves_qty": 0,
        },
    ]
    accept = "select inbox_id from brokerage.accept_reports_v1('v', 's', %s::bigint[], %s::uuid[], %s::jsonb[], now())"
    ids = [row[0] for row in cell.call(accept, [1, 2, 3], [order_id] * 3, [json.dumps(body) for body in told])]
    apply = "select inbox_id, outcome from brokerage.apply_reports_v1(%s::bigint[], '2026-11-23', now())"
    calls = 0
    while ids:  # all of them in every call, though the worker sends one at a time: none may overtake
        outcomes = [outcome for _, outcome in sorted(cell.call(apply, ids))]
        applied = outcomes.count("applied")
        assert outcomes == ["applied"] * applied + ["deferred"] * (len(ids) - applied)
        ids = ids[applied:]
        calls += 1
    assert calls <= 3
    query = "select status, venue_order_id from brokerage.orders where order_id = %s"
    assert cell.call(query, order_id) == [("filled", "V1")]
    assert cell.call("select 1 from brokerage.inbox") == []
