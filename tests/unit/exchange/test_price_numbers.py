"""A price's number only grows: over restarts, clocks that go back, and a log that does not answer."""

from hypothesis import given
from hypothesis import strategies as st

from exchange.price_numbers import PriceNumbers


@given(
    steps=st.lists(
        st.tuples(st.integers(-600_000_000, 600_000_000), st.sampled_from(["tell", "tell", "renew", "renew", "die"])),
        max_size=60,
    )
)
def test_no_start_meets_a_number_that_was_told(steps: list[tuple[int, str]]) -> None:
    now_us, on_disk, told = 1_000_000_000_000, 0, 0
    numbers = PriceNumbers(on_disk)
    for passed_us, what in steps:
        now_us += passed_us
        if what == "tell":
            number = numbers.next(now_us)
            assert number > told
            told = number
        elif what == "renew":
            upto = numbers.wanted(now_us)
            if upto is not None:
                on_disk = max(on_disk, upto)
                numbers.reserve(upto)
        elif on_disk >= told:  # a start reserves before it tells, and told numbers stay below what was reserved
            numbers = PriceNumbers(on_disk)


def test_numbers_stay_inside_the_reserve_however_late_the_log_is() -> None:
    numbers = PriceNumbers(0)
    upto = numbers.wanted(50_000_000)
    assert upto is not None
    numbers.reserve(upto)
    assert numbers.next(60_000_000) == 60_000_000
    assert numbers.wanted(60_000_000) is None, "once a minute is enough"
    assert numbers.next(10 * upto) == upto, "time alone does not leave the reserve"
    assert numbers.wanted(upto) is not None
