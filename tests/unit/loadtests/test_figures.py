"""Money as a customer handles it: exact both ways, floats nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.figures import dollars, from_wire, shares, to_wire
from loadtests.quantiles import percentile


@given(st.integers(min_value=-(10**17), max_value=10**17))
def test_the_wire_keeps_every_micro(micros: int) -> None:
    assert from_wire(to_wire(micros)) == micros


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0"), (1, "0.000001"), (12_500_000, "12.5"), (-1_000_000, "-1"), (585_330_000, "585.33")],
)
def test_numbers_are_written_plainly(micros: int, text: str) -> None:
    assert to_wire(micros) == text


@pytest.mark.parametrize("text", ["585.680000", "585.68"])
def test_trailing_zeros_mean_nothing(text: str) -> None:
    assert from_wire(text) == 585_680_000


@pytest.mark.parametrize("text", ["", "1e3", "NaN", "1.0000001", ".5", "1.", "+1", 1.5, None, 7, " 1", "\u0661"])
def test_what_is_no_decimal_string_is_an_error(text: object) -> None:
    with pytest.raises(ValueError, match="not a decimal string"):
        from_wire(text)


def test_people_read_cents_and_whole_shares() -> None:
    assert dollars(1_234_567_890_000) == "1,234,567.89"
    assert dollars(-5_000) == "-0.01"
    assert shares(1_234_000_000) == "1,234"
    assert shares(500_000) == "0.5"


def test_percentiles_are_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.50) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) == 0.0
