"""Accounts that owe: how it comes, what they may do, who lifts it, and what a purchase that pays a debt is worth."""

import json
import uuid
from typing import Any

import psycopg

from infra.runtime.sql_files import read_sql
from tests.support.bare_cell import Cell

LIFT = "select outcome, figures from lift_restriction_v1(%s, 'maria', 'paid')"


def test_a_late_fill_after_the_money_was_spent_again_restricts_and_posts(cell: Cell) -> None:
    """Cancelled, spent again, then the venue reports the fill after all: reality posts, the account is restricted."""
    user_id = cell.user(cash=100_000_000)
    order_id = cell.place([user_id])[0][1]
    cell.call("select 1 from claim_instructions_v1(64)")
    accept = "select inbox_id from accept_reports_v1('v', %s, %s::bigint[], %s::uuid[], %s::jsonb[], now())"
    apply = "select outcome from apply_reports_v1(%s::bigint[], '2026-11-23')"
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
