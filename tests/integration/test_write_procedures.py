"""What the write procedures promise beyond arithmetic: locks, ownership, privileges, races at the last cent."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import psycopg
import pytest

from cell.orders.status import TRANSITIONS
from tests.support.bare_cell import ANY_PRICE, Cell
from tests.support.databases import TestDatabase


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
            connection.execute("select set_reference_prices_v1(array['X'], array[1], now())")


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


def test_a_held_user_is_deferred_and_does_not_stall_the_others(cell: Cell, root: psycopg.Connection[Any]) -> None:
    held, free = cell.user(cash=10**9), cell.user(cash=10**9)
    with root.transaction():
        root.execute("select 1 from brokerage.users where user_id = %s for update", [held])
        outcomes = {row[0] for row in cell.place([held, free])}
        assert [row[0] for row in cell.place([held])] == ["DEFERRED"], "also when nobody else is in the call"
        assert cell.deposit([held], 1) == ["DEFERRED"]
    assert outcomes == {"DEFERRED", "accepted"}
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


def test_a_lease_that_ends_under_a_lock_holds_until_the_lock_is_gone_and_the_next_lock_clears_it(
    cell: Cell, root: psycopg.Connection[Any]
) -> None:
    """In one transaction a user is halted or is not; also a lock for what is refused clears what had ended."""
    user_id = cell.user(cash=10**9)
    state: LiteralString = (
        "select locked_ownership_v1(owner_state), halt_id is null from brokerage.users where user_id = %s"
    )
    with root.transaction():
        root.execute(
            "update brokerage.users set owner_state = 'halted', halt_id = gen_random_uuid(), "
            "lease_ends_at = clock_timestamp() + interval '50 ms' where user_id = %s",
            [user_id],
        )
        assert cell.call("select lock_users_v1(array[%s], false)", user_id) == [([],)]
        assert root.execute("select lock_users_v1(array[%s], false)", [user_id]).fetchone() == ([user_id],)
        root.execute("select pg_sleep_until(lease_ends_at) from brokerage.users where user_id = %s", [user_id])
        assert root.execute(state, [user_id]).fetchone() == ("USER_HALTED", False)
    assert cell.place([user_id], qty=10**9)[0][0] == "INSUFFICIENT_BUYING_POWER"
    assert cell.call(state, user_id) == [(None, True)]


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
    accept = "select received_seq from accept_reports_v1('v', 's', %s::bigint[], %s::uuid[], %s::jsonb[], now())"
    cell.call(accept, [1, 2], [uuid.uuid4(), uuid.uuid4()], ["{}", "{}"])
    with pytest.raises(psycopg.DatabaseError) as caught:
        cell.call(accept, [4], [uuid.uuid4()], ["{}"])
    assert caught.value.sqlstate == "RB020"
    assert cell.call(accept, [1, 2], [uuid.uuid4(), uuid.uuid4()], ["{}", "{}"]) == [(2,)]
    assert cell.call("select count(*) from brokerage.inbox") == [(2,)]


def test_ended_and_expired_logins_are_forgotten_in_small_steps(cell: Cell, root: psycopg.Connection[Any]) -> None:
    user_id = cell.user()
    root.execute(
        """insert into brokerage.refresh_families (user_id, family_id, current_hash, created_at, expires_at, ended_at)
           select %s, gen_random_uuid(), 'x', now(), now() + make_interval(days => e), now() + make_interval(days => d)
             from (values (-9, null::int), (-8, -20), (20, -8), (20, null), (20, -1), (-1, null)) v (e, d),
                  generate_series(1, 5)""",
        [user_id],
    )
    prune = "select prune_refresh_families_v1(now() - interval '7 days', 4)"
    deleted: list[int] = []
    while not deleted or deleted[-1]:
        deleted.append(cell.call(prune)[0][0])
    assert sum(deleted) == 15
    assert max(deleted) <= 8
    left = "select count(*), count(ended_at) from brokerage.refresh_families where user_id = %s"
    assert cell.call(left, user_id) == [(15, 5)], "young ones stay: those that end, expire, or are in use"


def test_sales_cannot_bring_in_more_than_a_balance_can_hold(cell: Cell) -> None:
    cell.call("select set_reference_prices_v1(array['AAPL'], array[99000000], now())")
    cell.call(ANY_PRICE)
    user_id = cell.user(cash=1)
    accepted = 0
    for _ in range(12):
        assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
        outcome = cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0]
        accepted += outcome == "accepted"
    assert (accepted, outcome) == (10, "BALANCE_LIMIT"), "valued at what the market pays, not at the limit"
    cell.call("select set_reference_prices_v1(array['AAPL'], array[185000000], now())")
    outcome = cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0]
    assert outcome == "ORDER_VALUE_LIMIT"


def test_a_replacement_cannot_be_worth_more_than_an_order_or_a_balance(cell: Cell) -> None:
    cell.call(ANY_PRICE)
    user_id = cell.user(cash=1)
    assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
    order_id = cell.place([user_id], side="sell", qty=1_000_000, px=1_000_000)[0][1]
    assert cell.replace(user_id, order_id, qty=1_000_000_000_000_000, px=1_000_000)[0] == "accepted"
    cell.call("select set_reference_prices_v1(array['AAPL'], array[100010000], now())")
    user_id = cell.user(cash=1)
    assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
    order_id = cell.place([user_id], side="sell", qty=1_000_000, px=1_000_000)[0][1]
    assert cell.replace(user_id, order_id, qty=1_000_000_000_000_000)[0] == "ORDER_VALUE_LIMIT", "at the market's price"
    cell.call("select set_reference_prices_v1(array['AAPL'], array[99000000], now())")
    for _ in range(9):
        assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
        assert cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0] == "accepted"
    assert cell.transfer(user_id, 1_000_000_000_000_000) == "accepted"
    assert cell.place([user_id], side="sell", qty=1_000_000_000_000_000, px=1_000_000)[0][0] == "accepted"
    assert cell.replace(user_id, order_id, qty=999_000_000_000_000)[0] == "BALANCE_LIMIT"


@pytest.mark.parametrize(
    ("reference", "collar"),
    [(980_000, 1_020_000), (900_000, 945_000), (100, 100), (1_000_000, 1_050_000), (228_453_300, 239_870_000)],
)
def test_the_collar_of_a_market_buy_is_a_price_that_a_venue_takes(cell: Cell, reference: int, collar: int) -> None:
    cell.call("select set_reference_prices_v1(array['EDGE'], array[%s::bigint], now())", reference)
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
    accept = "select inbox_id from accept_reports_v1('v', 's', %s::bigint[], %s::uuid[], %s::jsonb[], now())"
    ids = [row[0] for row in cell.call(accept, [1, 2, 3], [order_id] * 3, [json.dumps(body) for body in told])]
    apply = "select inbox_id, outcome from apply_reports_v1(%s::bigint[], '2026-11-23')"
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
