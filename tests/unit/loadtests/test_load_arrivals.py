"""Shapes and the rate gate: seven times is seven times, seeds repeat, nobody is due outside the run."""

import itertools

import pytest

from loadtests.load.arrivals import RateTooLow, Traffic
from loadtests.load.customer_classes import BY_NAME, CLASSES, head_counts
from loadtests.load.shapes import SHAPES, SPIKE_FACTOR, Phase, Shape, market_open, meme_spike

CUSTOMERS = head_counts(240)
SPIKE = Traffic(meme_spike(1), 20.0, CUSTOMERS, seed=1)


def all_due(traffic: Traffic) -> list[tuple[float, str]]:
    return sorted(
        (due_s, each.name)
        for each in CLASSES
        for number in range(traffic.customers[each.name])
        for due_s in traffic.due_times(each, number)
    )


def test_the_spike_rises_from_one_to_seven_within_a_minute_stays_and_comes_back() -> None:
    shape = meme_spike(1)
    assert shape.at(0.0) == (1.0, 0.0)
    assert shape.at(59.9)[0] == 1.0
    assert shape.at(90.0)[0] == pytest.approx(4.0)
    assert shape.at(120.0) == (SPIKE_FACTOR, 1.0)
    assert shape.at(239.9) == (SPIKE_FACTOR, 1.0)
    assert shape.at(shape.duration_s - 0.1)[0] == 1.0
    assert shape.at(-0.1) == shape.at(shape.duration_s) == (0.0, 0.0)


def test_the_market_open_has_bursts_of_three_to_five_times_the_open_and_its_seed_repeats_them() -> None:
    shape = market_open(3)
    bursts = [phase.factor[0] / 3.25 for phase in shape.phases if phase.name.startswith("burst")]
    assert len(bursts) == 6
    assert all(3.0 <= burst <= 5.0 for burst in bursts)
    assert shape == market_open(3) != market_open(4)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_shape_may_last_shorter_with_the_same_proportions(name: str) -> None:
    shape = SHAPES[name](1)
    short = shape.lasting(72.0)
    assert short.duration_s == pytest.approx(72.0)
    for share in (0.1, 0.5, 0.99):
        assert short.at(72.0 * share) == pytest.approx(shape.at(shape.duration_s * share))


@pytest.fixture(scope="module")
def whole_spike() -> list[tuple[float, str]]:
    return all_due(SPIKE)


def test_seven_times_is_seven_times(whole_spike: list[tuple[float, str]]) -> None:
    due = [due_s for due_s, _ in whole_spike]
    calm = sum(1 for due_s in due if due_s < 60) / 60
    plateau = sum(1 for due_s in due if 120 <= due_s < 240) / 120
    assert calm == pytest.approx(20.0, rel=0.1)
    assert plateau == pytest.approx(140.0, rel=0.05)
    assert min(due) >= 0.0
    assert max(due) < SPIKE.shape.duration_s


def test_the_spike_is_made_by_those_who_come_for_the_meme(whole_spike: list[tuple[float, str]]) -> None:
    share = {
        at: sum(1 for due_s, name in whole_spike if begin <= due_s < end and name in ("fomo-buyer", "panic-seller"))
        / sum(1 for due_s, _ in whole_spike if begin <= due_s < end)
        for at, begin, end in (("calm", 0, 60), ("plateau", 120, 240))
    }
    assert share["calm"] < 0.2
    assert share["plateau"] > 0.45


def test_a_seed_repeats_every_due_time_and_another_one_does_not() -> None:
    shape = meme_spike(1).lasting(72.0)
    one, again, other = (all_due(Traffic(shape, 6.0, head_counts(60), seed)) for seed in (5, 5, 6))
    assert one == again != other


def test_a_customer_is_due_at_times_of_their_own_whoever_else_is_there() -> None:
    first, second = (list(SPIKE.due_times(BY_NAME["holder"], number)) for number in (0, 1))
    assert first == sorted(first)
    assert not set(first) & set(second)


def test_a_bot_keeps_its_pace_below_the_limit_of_sixty_orders_a_minute_also_in_the_spike() -> None:
    due = list(SPIKE.due_times(BY_NAME["bot"], 0))
    gaps = {round(later - earlier, 6) for earlier, later in itertools.pairwise(due)}
    assert gaps == {round(1 / 1.8, 6)}
    assert 1.8 * 60 / 2 < 60


def test_a_rate_that_bots_alone_would_fill_is_refused() -> None:
    with pytest.raises(RateTooLow, match="--base-rate"):
        Traffic(meme_spike(1), 5.0, {**CUSTOMERS, "bot": 3}, seed=1)


def test_an_idle_phase_makes_nobody_due() -> None:
    shape = Shape(
        "pause", (Phase("on", 10, (1.0, 1.0)), Phase("off", 10, (0.0, 0.0)), Phase("on again", 10, (1.0, 1.0)))
    )
    people = {name: count for name, count in CUSTOMERS.items() if name != "bot"}
    due = [
        due_s
        for name, count in people.items()
        for n in range(count)
        for due_s in Traffic(shape, 50.0, people, 1).due_times(BY_NAME[name], n)
    ]
    assert due
    assert not [due_s for due_s in due if 10 <= due_s < 20]


@pytest.mark.parametrize("accounts", [6, 7, 30, 60, 240, 1_001])
def test_heads_add_up_and_every_class_is_there(accounts: int) -> None:
    counts = head_counts(accounts)
    assert sum(counts.values()) == accounts
    assert min(counts.values()) >= 1


def test_fewer_accounts_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        head_counts(5)
