"""The table of order states, as a whole."""

from cell.orders.status import CLOSED, OPEN, TRANSITIONS, OrderStatus, may_follow


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(OrderStatus)


def test_open_and_closed_part_the_states() -> None:
    assert set(OrderStatus) == OPEN | CLOSED
    assert not OPEN & CLOSED


def test_an_end_is_left_only_by_a_late_fill_and_a_complete_fill_only_by_a_bust() -> None:
    for ended in CLOSED - {OrderStatus.FILLED}:
        assert TRANSITIONS[ended] <= {ended, OrderStatus.FILLED}
    assert TRANSITIONS[OrderStatus.FILLED] == {OrderStatus.FILLED, OrderStatus.CANCELLED}


def test_the_easily_forgotten_moves_are_legal() -> None:
    for before, after in [
        ("routed", "filled"),
        ("pending_cancel", "filled"),
        ("pending_cancel", "routed"),
        ("pending_cancel", "partially_filled"),
        ("cancelled", "filled"),
        ("pending_replace", "filled"),
        ("pending_replace", "partially_filled"),
        ("replaced", "filled"),
        ("partially_filled", "routed"),
    ]:
        assert may_follow(OrderStatus(before), OrderStatus(after))


def test_nothing_goes_back_to_the_beginning() -> None:
    assert not any(OrderStatus.PENDING in after for after in TRANSITIONS.values())
