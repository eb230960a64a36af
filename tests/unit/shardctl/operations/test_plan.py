"""Plans: steps have names of their own, the hash is of the facts alone, unknown arguments are refused."""

import pytest

from shardctl.errors import UsageError
from shardctl.operations.plan import Plan, PlannedStep, hash_facts, refuse_unknown, succeeded
from shardctl.operations.states import ENDED, TRANSITIONS, WORKED_ON, State


def test_the_hash_is_of_what_was_seen_not_of_its_spelling() -> None:
    assert hash_facts({"a": 1, "b": [1, 2]}) == hash_facts({"b": [1, 2], "a": 1})
    assert hash_facts({"a": 1}) != hash_facts({"a": 2})


def test_two_steps_of_one_name_are_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError):
        Plan("x", (PlannedStep("a", "act"), PlannedStep("a", "act")))
    with pytest.raises(AssertionError):
        Plan("x", ())


def test_arguments_that_a_kind_does_not_have() -> None:
    refuse_unknown({"router": None}, {"router": str})
    with pytest.raises(UsageError, match="unknown argument rooter"):
        refuse_unknown({"rooter": "router-1"}, {"router": str})
    with pytest.raises(UsageError, match="apis is bool, not int"):
        refuse_unknown({"apis": True}, {"apis": int})


def test_every_state_has_its_place() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {state for state in State if not TRANSITIONS[state]} == ENDED - {State.FAILED}
    assert not set(WORKED_ON) & ENDED
    assert succeeded({}).exit_code == 0
