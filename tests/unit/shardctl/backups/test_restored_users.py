"""Who may write again after a restore, and who is refused by name."""

from dataclasses import replace

import pytest

from shardctl.backups.restored_users import HeldUser, refuse_unready
from shardctl.commands.restored_users import release
from shardctl.errors import Refused, UsageError

BEHIND = HeldUser("u-1", orders_written=4, orders_known=9, ledger_written=2, ledger_known=3,
                  venue_differences=0, reports_waiting=0)  # fmt: skip
DIFFERS = replace(BEHIND, user_id="u-2", venue_differences=1)
WAITED_FOR = replace(BEHIND, user_id="u-3", reports_waiting=2)
HELD = {user.user_id: user for user in (BEHIND, DIFFERS, WAITED_FOR)}


def test_what_is_lost_is_counted() -> None:
    assert BEHIND.lost_events == 6
    assert replace(BEHIND, orders_known=0, ledger_known=2).lost_events == 0


def test_who_is_behind_kafka_may_be_released() -> None:
    refuse_unready("cell-1", ["u-1"], HELD)


def test_who_waits_for_reports_of_the_orders_that_differ_may_be_released() -> None:
    refuse_unready("cell-1", ["u-1", "u-3"], HELD)


def test_who_differs_at_the_venue_is_named_and_nobody_is_released() -> None:
    with pytest.raises(Refused, match=r"do not agree about orders of u-2: nobody was released"):
        refuse_unready("cell-1", list(HELD), HELD)


def test_who_is_not_read_only_is_named() -> None:
    with pytest.raises(Refused, match="not read-only in cell-1: u-9: `shardctl cells restored-users cell-1`"):
        refuse_unready("cell-1", ["u-9"], HELD)


def test_whom_must_be_said() -> None:
    for users, every in ((None, False), (["u-1"], True)):
        with pytest.raises(UsageError, match="name users, or give --all"):
            release("cell-1", "looked at", users, every)
