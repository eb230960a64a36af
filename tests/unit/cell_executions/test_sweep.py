"""About an unanswered instruction: never a blind resend, a cancel after silence, an operator in the end."""

import pytest

from cell.executions.sweep import CANCEL_AT_TRY, STUCK_AT_TRY, next_step


@pytest.mark.parametrize("tries", range(8))
@pytest.mark.parametrize("submit_waits", [False, True])
def test_a_submit_is_sent_again_only_if_the_venue_says_that_it_does_not_know_it(tries: int, submit_waits: bool) -> None:
    assert next_step("submit", tries=tries, known=False, submit_waits=submit_waits).send
    assert not next_step("submit", tries=tries, known=True, submit_waits=submit_waits).send
    assert not next_step("submit", tries=tries, known=None, submit_waits=submit_waits).send


def test_an_order_about_which_the_venue_is_silent_is_cancelled_once() -> None:
    cancels = [next_step("submit", tries=tries, known=None, submit_waits=True).cancel for tries in range(10)]
    assert [tries + 1 for tries, cancel in enumerate(cancels) if cancel] == [CANCEL_AT_TRY]
    assert not any(next_step("submit", tries=tries, known=True, submit_waits=True).cancel for tries in range(10))
    assert not any(next_step("cancel", tries=tries, known=None, submit_waits=True).cancel for tries in range(10))


@pytest.mark.parametrize("action", ["cancel", "expire"])
def test_a_cancel_is_repeated_but_not_for_an_order_that_the_venue_forgot(action: str) -> None:
    assert next_step(action, tries=0, known=True, submit_waits=False).send
    assert next_step(action, tries=0, known=None, submit_waits=False).send
    assert next_step(action, tries=0, known=False, submit_waits=True).send
    assert not next_step(action, tries=0, known=False, submit_waits=False).send


@pytest.mark.parametrize("action", ["submit", "cancel", "expire", "replace"])
@pytest.mark.parametrize("known", [None, False, True])
def test_everything_unanswered_reaches_an_operator(action: str, known: bool | None) -> None:
    stuck = [next_step(action, tries=tries, known=known, submit_waits=False).stuck for tries in range(STUCK_AT_TRY + 2)]
    assert stuck == [tries + 1 >= STUCK_AT_TRY for tries in range(STUCK_AT_TRY + 2)]
