"""`users.move`: its plan, what a user who stays leaves behind, and the conclusion. Pure."""

from typing import Any
from uuid import UUID

import pytest

from shardctl.errors import Exit, NotReachable, Refused, UsageError
from shardctl.operations.kinds.users_move import USERS_MAX, USERS_MOVE, stays, unacknowledged
from shardctl.operations.kinds.users_moved import NAME, moved_users
from shardctl.operations.states import State

ANN, BOB = str(UUID(int=1)), str(UUID(int=2))
CELL: dict[str, Any] = {"state": "open", "code": ["code_a"], "fenced": False, "clock_agrees": True}
SEEN: dict[str, Any] = {"cell": "cell-1", "owner_state": "active", "held": None}
FACTS: dict[str, Any] = {
    "known_cells": ["cell-1", "cell-2", "cell-3"],
    "cells": {"cell-1": CELL, "cell-2": CELL, "cell-3": CELL},
    "users": {ANN: SEEN, BOB: {**SEEN, "cell": "cell-3"}},
}


def test_five_steps_per_user_one_user_after_the_other() -> None:
    plan = USERS_MOVE.plan(USERS_MOVE.parse({"users": [ANN, BOB, ANN], "to": "cell-2"}), FACTS)
    assert [step.action for step in plan.steps] == ["begin", "copy", "hand_over", "pin", "acknowledge"] * 2
    assert [step.key for step in plan.steps][:2] == [f"begin {ANN}", f"copy {ANN}"]
    assert {step.arguments["from"] for step in plan.steps[5:]} == {"cell-3"}
    assert [step.action for step in plan.steps if step.is_irrevocable] == ["hand_over", "hand_over"]
    assert (plan.target, plan.cells) == ("2 users to cell-2", ("cell-1", "cell-2", "cell-3"))
    assert plan.users == (UUID(ANN), UUID(BOB))  # for the conflict matrix: the same user excludes
    one = USERS_MOVE.plan(USERS_MOVE.parse({"users": [ANN], "to": "cell-2"}), FACTS)
    assert one.target == f"{ANN} to cell-2"


def test_every_step_has_its_action_and_those_that_must_end_have_no_finding() -> None:
    plan = USERS_MOVE.plan(USERS_MOVE.parse({"users": [ANN], "to": "cell-2"}), FACTS)
    assert {step.action for step in plan.steps} == set(USERS_MOVE.actions)
    assert [name for name, action in USERS_MOVE.actions.items() if action.finding is None] == ["hand_over", "pin"]
    assert [name for name, action in USERS_MOVE.actions.items() if action.undo is not None] == ["begin"]
    assert USERS_MOVE.actions["begin"].decide is not None
    assert USERS_MOVE.needs_reason


def test_who_may_not_move_is_refused_before_anything_is_touched() -> None:
    held = {**FACTS, "users": {ANN: {**SEEN, "held": "by eve: subpoena"}}}
    with pytest.raises(Refused, match="is held"):
        USERS_MOVE.plan(USERS_MOVE.parse({"users": [ANN], "to": "cell-2"}), held)
    with pytest.raises(Refused, match="already: nothing to do"):
        USERS_MOVE.plan(USERS_MOVE.parse({"users": [ANN], "to": "cell-1"}), FACTS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"users": [ANN]},
        {"to": "cell-2"},
        {"users": [], "to": "cell-2"},
        {"users": ["ann@example.com"], "to": "cell-2"},
        {"users": ANN, "to": "cell-2"},
        {"users": [str(UUID(int=number)) for number in range(USERS_MAX + 1)], "to": "cell-2"},
        {"users": [ANN], "to": "cell-2", "force": True},
    ],
)
def test_arguments_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        USERS_MOVE.parse(wrong)


def test_a_user_who_stays_keeps_what_was_decided_so_that_both_cells_let_go() -> None:
    decided = {"move_id": str(UUID(int=9)), "ownership_epoch": 7}
    assert stays({}, decided, NotReachable("cell-2 is away")) == {**decided, "stayed": "cell-2 is away"}
    assert stays({}, {}, ValueError()) == {"stayed": "ValueError"}
    assert unacknowledged({}, {}, NotReachable("cell-1 is away")) == {"acknowledged": False, "why": "cell-1 is away"}


def test_the_conclusion_says_who_moved_who_stayed_and_why() -> None:
    moved = {"pause_us": 41_400, "certificate": "c"}
    done = USERS_MOVE.conclude({f"hand over {ANN}": moved, f"hand over {BOB}": {**moved, "pause_us": None}})
    assert (done.state, done.exit_code, done.detail) == (State.SUCCEEDED, Exit.DONE, "2 moved, longest pause 41 ms")
    mixed = USERS_MOVE.conclude({f"hand over {ANN}": moved, f"hand over {BOB}": {"stayed": "orders at the venue"}})
    assert (mixed.state, mixed.exit_code) == (State.FAILED, Exit.FAILED)
    assert mixed.detail == f"1 moved, longest pause 41 ms, 1 stayed: {BOB}: orders at the venue"


def test_who_was_moved_is_read_from_the_steps() -> None:
    given = {"user_id": ANN, "from": "cell-1", "to": "cell-2"}
    step = {"action": "hand_over", "arguments": given, "state": "done", "result": {"pause_us": 7}}
    pending = {**step, "state": "pending", "result": None}
    assert USERS_MOVE.name == NAME
    assert moved_users([step, pending, {**step, "action": "copy"}]) == [{**given, "pause_us": 7, "stayed": None}]
