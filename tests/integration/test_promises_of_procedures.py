"""What a wrong caller with the service's rights may not destroy: the procedures hold their promises themselves."""

import uuid
from typing import Any, LiteralString

import psycopg
import pytest

from tests.support.bare_cell import Cell
from tests.support.databases import TestDatabase

NEVER: LiteralString = "now() + interval '100 years'"


def test_a_key_is_not_forgotten_within_seven_days_whatever_the_caller_says(
    cell: Cell, root: psycopg.Connection[Any]
) -> None:
    user_id = cell.user(cash=10**9)
    cell.place([user_id], key="young")
    for key, days in (("six", 6), ("eight", 8)):
        cell.place([user_id], key=key)
        root.execute(
            "update brokerage.idempotency_keys set at = now() - make_interval(days => %s) where key = %s", [days, key]
        )
    cell.call("set brokerage.clock_offset = '8 days'")  # a session's clock is its own word
    assert cell.call(f"select prune_idempotency_keys_v1({NEVER}, 2147483647)") == [(1,)]
    left = cell.call("select key from brokerage.idempotency_keys where key in ('young', 'six', 'eight') order by key")
    assert left == [("six",), ("young",)]


def test_an_ended_login_is_not_forgotten_within_seven_days(cell: Cell, root: psycopg.Connection[Any]) -> None:
    user_id = cell.user()
    root.execute(
        """insert into brokerage.refresh_families (user_id, family_id, current_hash, created_at, expires_at, ended_at)
           select %s, gen_random_uuid(), 'x', now(), now() + make_interval(days => e), now() + make_interval(days => d)
             from (values (20, -6), (20, -8), (-6, null), (-8, null), (20, null)) v (e, d)""",
        [user_id],
    )
    cell.call("set brokerage.clock_offset = '60 days'")  # a session's clock is its own word
    assert cell.call(f"select prune_refresh_families_v1({NEVER}, 1000)") == [(2,)]
    assert cell.call("select count(*) from brokerage.refresh_families where user_id = %s", user_id) == [(3,)]


def test_history_is_not_archived_within_seven_days(
    cell: Cell, root: psycopg.Connection[Any], cell_database: TestDatabase
) -> None:
    user_id = cell.user(cash=10**9)
    root.execute("delete from brokerage.outbox")
    archive = f"select entries from archive_history_v1(%s, {NEVER}, 0, 1000)"
    assert cell.call(archive, user_id) == [(0,)]
    cell.call("set brokerage.clock_offset = '8 days'")
    assert cell.call(archive, user_id) == [(0,)], "a session's clock is its own word"
    cell_database.rehearse("8 days")
    assert cell.call(archive, user_id)[0][0] > 0


def test_a_report_that_waits_is_not_put_aside_before_its_time(
    cell: Cell, root: psycopg.Connection[Any], cell_database: TestDatabase
) -> None:
    user_id = cell.user(cash=10**9)
    root.execute(
        """insert into brokerage.early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date,
                                                ref_exec_id, body, received_at, waits_until)
           values (%s, 1, gen_random_uuid(), 'exchange', 'cell-1', 1, '2026-11-20', 'x', '{}', now(),
                   now() + interval '1 day')""",
        [user_id],
    )
    end = f"select count(*) from end_early_reports_v1({NEVER}, 100)"
    assert cell.call(end) == [(0,)]
    cell.call("set brokerage.clock_offset = '25 hours'")
    assert cell.call(end) == [(0,)], "a session's clock is its own word"
    cell_database.rehearse("25 hours")
    assert cell.call(end) == [(1,)]


def test_a_session_does_not_end_while_a_day_order_of_it_is_open(cell: Cell, root: psycopg.Connection[Any]) -> None:
    closes_at = "2026-11-20T21:00:00Z"
    user_id = cell.user(cash=10**9)
    order_id = cell.place([user_id])[0][1]
    root.execute("update brokerage.orders set expires_at = %s where order_id = %s", [closes_at, order_id])
    root.execute("insert into brokerage.market_sessions values ('2026-11-20', '2026-11-20T14:30Z', %s)", [closes_at])
    end = "select end_session_v1(%s, %s)"
    ended = "select count(*) from brokerage.market_sessions where expired_at is not null"
    for at, told in (("2026-11-20T20:59:59Z", "the session ends at"), ("2126-11-20T21:00:00Z", str(order_id))):
        with pytest.raises(psycopg.DatabaseError, match=told) as caught:
            cell.call(end, closes_at, at)
        assert caught.value.sqlstate == "RB030"
    assert cell.call(ended) == [(0,)]
    first = uuid.UUID(int=0)
    assert cell.call("select ended from expire_day_orders_v1(%s, %s, 10, now())", closes_at, first) == [(1,)]
    for _ in range(2):
        cell.call(end, closes_at, "2026-11-20T21:00:30Z")
        assert cell.call(ended) == [(1,)]


def test_a_reconciliation_is_recorded_once_and_a_different_second_one_is_refused(cell: Cell) -> None:
    run_id = uuid.uuid4()
    record = (
        "select record_reconciliation_v1(%s, '2026-11-20T21:00Z', '2026-11-20T21:01Z', '2026-11-20T21:00Z',"
        " 'night', %s, '[]', '[]', %s::jsonb, '{}')"
    )
    kept = "select verdict, venue from brokerage.reconciliations"
    for _ in range(2):  # the answer to the first one may have been lost
        cell.call(record, run_id, "equal", '{"asked": true, "compared": 7}')
    for verdict, venue in (
        ("different", '{"asked": true, "compared": 7}'),
        ("equal", '{"asked": true, "compared": 8}'),
    ):
        with pytest.raises(psycopg.DatabaseError, match=str(run_id)) as caught:
            cell.call(record, run_id, verdict, venue)
        assert caught.value.sqlstate == "RB032"
    assert cell.call(kept) == [("equal", {"asked": True, "compared": 7})]


def outbox(cell: Cell) -> list[int]:
    return [row[0] for row in cell.call("select id from brokerage.outbox order by id")]


def test_only_the_relay_that_leads_forgets_what_was_published(cell: Cell, cell_database: TestDatabase) -> None:
    users = [cell.user(cash=10**9) for _ in range(2)]
    for _ in range(3):
        cell.place(users)
    ids = outbox(cell)
    assert len(ids) >= 6
    delete, start = "select delete_outbox_v1(%s::bigint[], %s)", "select start_term_v1(%s, %s)"
    with psycopg.connect(cell_database.service_dsn) as leader:
        pid = leader.info.backend_pid
        assert cell.call(start, "relay", pid) == [(None,)]
        assert leader.execute("select take_leadership_v1('worker')").fetchone() == (True,)
        assert cell.call(start, "relay", pid) == [(None,)]
        ((worker,),) = cell.call(start, "worker", pid)
        assert leader.execute("select take_leadership_v1('relay')").fetchone() == (True,)
        own_pid = cell.call("select pg_backend_pid()")[0][0]
        assert cell.call(start, "relay", own_pid) == [(None,)]
        ((secret,),) = cell.call(start, "relay", pid)
        assert cell.call(start, "relay", pid) == [(None,)], "it is told once"
        for claimed in (worker, uuid.uuid4(), uuid.UUID(int=pid), None):
            with pytest.raises(psycopg.DatabaseError, match="leads") as caught:
                cell.call(delete, ids, claimed)
            assert caught.value.sqlstate == "RB031"
        with pytest.raises(psycopg.DatabaseError, match="leads"):
            cell.call(delete, ids * 200, secret)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cell.call("select secret from brokerage.leadership_terms")
        owners = dict(cell.call("select id, user_id from brokerage.outbox"))
        first = owners[ids[0]]
        gap = [number for number in ids if owners[number] == first][1:]
        assert cell.call(delete, gap, secret) == [(0,)], "not a later one while an earlier one of its user stays"
        assert cell.call(delete, ids[:3], secret) == [(3,)]
        assert outbox(cell) == ids[3:]
        leader.rollback()
        assert leader.execute("select take_leadership_v1('relay')").fetchone() == (True,)
        with pytest.raises(psycopg.DatabaseError, match="leads"):
            cell.call(delete, ids, secret)
        assert cell.call(start, "relay", pid)[0][0] != secret
