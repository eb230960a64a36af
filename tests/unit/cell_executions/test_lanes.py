"""Lanes: one report of a user at a time, in order; a deferred user holds up nobody else."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cell.executions.lanes import LANE_MAX, ReportLanes

ANN, BOB = UUID(int=1), UUID(int=2)


def test_one_report_per_user_at_a_time() -> None:
    lanes = ReportLanes()
    for inbox_id, user_id in ((1, ANN), (2, ANN), (3, BOB), (4, None), (5, None)):
        lanes.add(inbox_id, user_id)
    assert lanes.take(10, 0.0) == [1, 3, 4, 5]
    assert lanes.take(10, 0.0) == []
    lanes.finish(1)
    assert lanes.take(10, 0.0) == [2]
    assert len(lanes) == 4


def test_a_deferred_report_keeps_its_place_and_waits_longer_each_time() -> None:
    lanes = ReportLanes()
    for inbox_id, user_id in ((1, ANN), (2, ANN), (3, BOB)):
        lanes.add(inbox_id, user_id)
    assert lanes.take(1, 0.0) == [1]
    lanes.defer(1, 0.0)
    assert lanes.take(10, 0.0) == [3]
    moments = []
    now_s = 0.0
    for _ in range(12):
        moment_s = lanes.next_moment_s()
        assert moment_s is not None
        moments.append(round(moment_s - now_s, 6))
        assert lanes.take(10, moment_s - 0.0001) == []
        assert lanes.take(10, moment_s) == [1]
        now_s = moment_s
        lanes.defer(1, now_s)
    assert moments == sorted(moments)
    assert abs(moments[-1] - 1.0) < 1e-6


def test_the_same_row_is_taken_in_once() -> None:
    lanes = ReportLanes()
    lanes.add(1, ANN)
    lanes.add(1, ANN)
    assert lanes.take(10, 0.0) == [1]
    lanes.finish(1)
    assert lanes.take(10, 0.0) == []
    assert len(lanes) == 0


def test_a_report_that_came_back_has_the_place_of_its_old_id_behind_what_is_being_applied() -> None:
    lanes = ReportLanes()
    for inbox_id in (4, 6):
        lanes.add(inbox_id, ANN)
    assert lanes.take(10, 0.0) == [4]
    lanes.add(3, ANN)
    lanes.add(5, ANN)
    lanes.finish(4)
    assert lanes.take(10, 0.0) == [3]
    lanes.defer(3, 0.0)
    lanes.add(2, ANN)
    applied = []
    for now_s in (1.0, 2.0, 3.0, 4.0):
        [inbox_id] = lanes.take(10, now_s)
        lanes.finish(inbox_id)
        applied.append(inbox_id)
    assert applied == [2, 3, 5, 6]
    assert len(lanes) == 0


def test_an_older_report_that_is_found_while_a_later_one_is_applied_goes_before_it_if_that_is_deferred() -> None:
    lanes = ReportLanes()
    assert lanes.add(6, ANN)
    assert lanes.take(10, 0.0) == [6]
    assert lanes.add(5, ANN)
    assert not lanes.add(5, ANN)
    lanes.defer(6, 0.0)
    assert lanes.take(10, 1.0) == [5]
    lanes.finish(5)
    assert lanes.take(10, 1.0) == [6]


@given(
    users=st.lists(st.sampled_from([ANN, BOB, UUID(int=3), None]), max_size=40),
    choices=st.lists(st.booleans(), min_size=200, max_size=200),
)
def test_every_report_is_applied_once_and_in_its_users_order(users: list[UUID | None], choices: list[bool]) -> None:
    lanes = ReportLanes()
    for inbox_id, user_id in enumerate(users):
        lanes.add(inbox_id, user_id)
    applied: list[int] = []
    now_s = 0.0
    while len(lanes):
        taken = lanes.take(3, now_s)
        named = [users[inbox_id] for inbox_id in taken if users[inbox_id] is not None]
        assert len(set(named)) == len(named)
        for inbox_id in taken:
            if choices and choices.pop():
                lanes.defer(inbox_id, now_s)
            else:
                lanes.finish(inbox_id)
                applied.append(inbox_id)
        now_s += 1.0
    assert sorted(applied) == list(range(len(users)))
    for user_id in {user for user in users if user is not None}:
        mine = [inbox_id for inbox_id in applied if users[inbox_id] == user_id]
        assert mine == sorted(mine)


def test_a_user_with_thousands_fills_their_lane_and_no_more() -> None:
    lanes = ReportLanes()
    assert [lanes.add(inbox_id, ANN) for inbox_id in range(3 * LANE_MAX)].count(True) == LANE_MAX
    assert lanes.add(9_999, BOB)
    assert len(lanes) == LANE_MAX + 1
    applied: list[int] = []
    while inbox_ids := lanes.take(2, 0.0):
        for inbox_id in inbox_ids:
            lanes.finish(inbox_id)
            applied.append(inbox_id)
        if (user_id := lanes.next_emptied()) is not None:
            left = [inbox_id for inbox_id in range(3 * LANE_MAX) if inbox_id not in applied]
            for inbox_id in left[: LANE_MAX + 1]:
                lanes.add(inbox_id, user_id)
    assert applied[1] == 9_999, "alone in its lane"
    assert [inbox_id for inbox_id in applied if inbox_id != 9_999] == list(range(3 * LANE_MAX))
    assert len(lanes) == 0


def test_who_is_held_takes_no_room_from_those_who_are_free() -> None:
    lanes = ReportLanes()
    for inbox_id in range(10):
        lanes.add(inbox_id, ANN)
    lanes.add(10, BOB)
    assert lanes.free == 11
    assert lanes.take(1, 0.0) == [0]
    lanes.defer(0, 0.0)
    assert lanes.free == 1
    lanes.add(11, ANN)
    assert (lanes.free, len(lanes)) == (1, 12)
    assert set(lanes.take(2, 1.0)) == {0, 10}
    assert lanes.free == 12


def test_one_that_comes_back_finds_room_in_a_full_lane() -> None:
    """The others of its user wait for it."""
    lanes = ReportLanes()
    for inbox_id in range(10, 11 + LANE_MAX):
        lanes.add(inbox_id, ANN)
    assert lanes.take(1, 0.0) == [10]
    assert lanes.add(3, ANN)
    lanes.defer(10, 0.0)
    assert lanes.take(1, 1.0) == [3]
