"""What a cell is let in for: kinds of requests, a rate that is fair to its users, and the time in a queue."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admission import NO_CAP, Admission
from router.bulkhead import Bulkhead
from router.errors import CellOverloaded, TooManyRequests
from router.fair_rate import FairRate
from router.kinds import CUSTOMERS, Kind, kind_of
from router.queue_time import QueueTime
from router.settings import AdmissionSettings, UpstreamSettings

START_S = 1_000.0


@pytest.mark.parametrize(
    ("method", "target", "kind"),
    [
        (b"POST", b"/v1/orders", Kind.ORDER),
        (b"POST", b"/v1/orders/", Kind.ORDER),
        (b"POST", b"/v1/orders?x=1", Kind.ORDER),
        (b"POST", b"/v1/%6frders", Kind.ORDER),
        (b"POST", b"/v1/o%72ders?y=%2F", Kind.ORDER),
        (b"PATCH", b"/v1/orders/0a1b", Kind.ORDER),
        (b"PUT", b"/v1/orders/0a1b", Kind.ORDER),
        (b"POST", b"/v1/orders/preview", Kind.READ),
        (b"POST", b"/v1/orders/preview?a=b", Kind.READ),
        (b"DELETE", b"/v1/orders/0a1b", Kind.OWN_ORDER),
        (b"DELETE", b"/v1/orders", Kind.OWN_ORDER),
        (b"GET", b"/v1/orders?limit=20", Kind.OWN_ORDER),
        (b"HEAD", b"/v1/orders/0a1b/executions", Kind.OWN_ORDER),
        (b"GET", b"/v1/symbols/GME", Kind.READ),
        (b"OPTIONS", b"/v1/portfolio", Kind.READ),
        (b"GET", b"/v1/ordersx", Kind.READ),
        (b"POST", b"/v1/ordersx", Kind.WRITE),
        (b"POST", b"/v1/deposits", Kind.WRITE),
        (b"POST", b"/v1/%", Kind.WRITE),
    ],
)
def test_kinds(method: bytes, target: bytes, kind: Kind) -> None:
    assert kind_of(method, target) is kind


gaps_s = st.one_of(st.just(0.0), st.floats(0.0, 0.05), st.floats(0.0, 20.0))
schedules = st.lists(st.tuples(gaps_s, st.integers(0, 4)), min_size=1, max_size=300)


@given(st.floats(0.5, 5_000.0), schedules)
def test_in_no_window_more_is_taken_than_the_rate_and_one_burst(
    per_s: float, schedule: list[tuple[float, int]]
) -> None:
    rate, now_s, taken_s = FairRate(per_s), START_S, []
    for gap_s, user in schedule:
        now_s += gap_s
        if rate.take(user, now_s):
            taken_s.append(now_s)
        assert -1e-6 <= rate.tokens(now_s) <= rate.burst + 1e-6
    for first, begin_s in enumerate(taken_s):
        for last in range(first, len(taken_s)):
            assert last - first + 1 <= per_s * (taken_s[last] - begin_s) + rate.burst + 1e-6


@given(st.integers(1, 400), st.integers(1, 30), st.integers(0, 2**32))
def test_the_whole_rate_is_taken_when_more_is_asked_for_by_however_many(per_s: int, users: int, seed: int) -> None:
    chance, rate = random.Random(seed), FairRate(per_s)
    asked = per_s * 3 * 4  # three times the rate, for four seconds
    times_s = sorted(START_S + chance.random() * 4 for _ in range(asked))
    taken = sum(rate.take(chance.randrange(users), now_s) for now_s in times_s)
    assert taken >= per_s * (times_s[-1] - times_s[0]) - 1


@given(st.floats(2.0, 500.0), st.integers(1, 12), st.integers(0, 2**32))
def test_who_asks_little_is_never_refused_beside_those_who_ask_for_everything(
    per_s: float, greedy: int, seed: int
) -> None:
    """The greedy ask three times the rate; the quiet one, half of what an equal part would be, from any moment after
    the first rush, in which everybody is new and has the burst of two that is theirs."""
    chance, rate = random.Random(seed), FairRate(per_s)
    quiet_every_s = 2 * (greedy + 1) / per_s
    rush_s = (rate.burst + 2 * greedy) / (0.1 * per_s)
    begins_s = START_S + rush_s + quiet_every_s * chance.random()
    quiet = [(begins_s + number * quiet_every_s, -1) for number in range(8)]
    steps = int((quiet[-1][0] - START_S) * per_s * 3)
    others = [(START_S + step / (per_s * 3), step % greedy) for step in range(steps)]
    taken: Counter[int] = Counter()
    for now_s, user in sorted(quiet + others):
        if rate.take(user, now_s):
            taken[user] += 1
        else:
            assert user != -1, "the quiet one was refused"
    assert taken[-1] == len(quiet)
    assert max(taken[user] for user in range(greedy)) <= 1.5 * min(taken[user] for user in range(greedy)) + rate.burst


def test_among_the_greedy_everybody_gets_an_equal_part() -> None:
    """One asks twenty times as often as each of the others."""
    rate, taken = FairRate(50.0), Counter[int]()
    for step in range(20_000):
        user = 0 if step % 2 else 1 + step // 2 % 10
        taken[user] += rate.take(user, START_S + step / 1_000)
    others = [taken[user] for user in range(1, 11)]
    assert sum(taken.values()) == pytest.approx(50 * 20, rel=0.03)
    assert min(others) > 0.8 * 1_000 / 11, "nearly an equal part, though one asks so much more often"
    assert taken[0] < 2.5 * max(others)


def test_users_who_left_take_no_part_and_no_memory() -> None:
    rate = FairRate(10.0)
    for user in range(1_000):
        rate.take(user, START_S + user / 100)
    at_s = START_S + 100.0
    assert sum(rate.take("alone", at_s + step / 100) for step in range(1_000)) >= 100
    assert len(rate._user_full_at_s) == 1


def test_without_a_stated_rate_everything_is_admitted_and_counted() -> None:
    admission = Admission(NO_CAP)
    assert all(admission.admits(Kind.ORDER, 1, START_S) for _ in range(10_000))
    assert (admission.admitted[Kind.ORDER], sum(admission.shed)) == (10_000, 0)


def test_each_kind_has_a_rate_of_its_own() -> None:
    admission = Admission(AdmissionSettings(orders_per_s=10.0, others_times=5.0))
    assert 0 < sum(admission.admits(Kind.ORDER, 1, START_S) for _ in range(100)) <= 10
    for kind in CUSTOMERS[1:]:
        assert admission.rates[kind].per_s == 50.0
        assert admission.admits(kind, 1, START_S)
    assert admission.shed[Kind.ORDER] + admission.admitted[Kind.ORDER] == 100


def test_a_burst_may_wait_and_a_standing_queue_may_not() -> None:
    queue = QueueTime(wait_s=0.1, target_s=0.02)
    assert queue.limit_s(START_S, is_empty=True) == 0.1
    assert queue.limit_s(START_S + 0.09, is_empty=False) == 0.1
    assert queue.limit_s(START_S + 0.11, is_empty=False) == 0.02
    assert queue.limit_s(START_S + 9.0, is_empty=False) == 0.02
    assert queue.limit_s(START_S + 9.1, is_empty=True) == 0.1
    assert queue.limit_s(START_S + 9.15, is_empty=False) == 0.1


@given(st.lists(st.tuples(st.floats(0.0, 0.2), st.booleans()), min_size=1, max_size=100))
def test_the_limit_is_short_exactly_while_the_queue_stood_for_longer_than_the_long_one(
    joins: list[tuple[float, bool]],
) -> None:
    queue, now_s, empty_s = QueueTime(wait_s=0.1, target_s=0.02), START_S, 0.0
    for gap_s, is_empty in joins:
        now_s += gap_s
        if is_empty:
            empty_s = now_s
        assert queue.limit_s(now_s, is_empty=is_empty) == (0.02 if now_s - empty_s > 0.1 else 0.1)


@pytest.mark.anyio
async def test_who_waits_for_a_full_cell_is_shed_by_time_and_who_waits_for_themselves_is_not() -> None:
    """Two permits, a share of one: `one` waits for their own request, `three` for the cell."""
    settings = UpstreamSettings(in_flight_max=2, user_in_flight_max=1, queue_wait_s=0.01, share_wait_s=30.0)
    bulkhead = Bulkhead(settings)
    await bulkhead.acquire(Kind.ORDER, "one")
    own = asyncio.create_task(bulkhead.acquire(Kind.ORDER, "one"))
    await asyncio.sleep(0)
    await bulkhead.acquire(Kind.ORDER, "two")
    with pytest.raises(CellOverloaded):
        await bulkhead.acquire(Kind.ORDER, "three")
    assert (bulkhead.shed[Kind.ORDER], bulkhead.over_share) == (1, 0)
    assert not own.done()
    bulkhead.permits[Kind.ORDER].release("one")
    await own
    await bulkhead.acquire(Kind.OWN_ORDER, "three")  # a cancel has permits of its own


@pytest.mark.anyio
async def test_a_login_may_wait_longer_than_an_order() -> None:
    settings = UpstreamSettings(
        identity_in_flight_max=2, user_in_flight_max=1, queue_wait_s=0.01, share_wait_s=30.0, user_queue_max=0
    )
    bulkhead = Bulkhead(settings)
    for person in ("one", "two"):
        await bulkhead.acquire(Kind.IDENTITY, person)
    third = asyncio.create_task(bulkhead.acquire(Kind.IDENTITY, "three"))
    await asyncio.sleep(0.05)
    assert not third.done()
    bulkhead.permits[Kind.IDENTITY].release("one")
    await third
    await bulkhead.acquire(Kind.ORDER, "one")
    with pytest.raises(TooManyRequests):
        await bulkhead.acquire(Kind.ORDER, "one")
