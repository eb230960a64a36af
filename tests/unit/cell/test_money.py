"""Amounts are read exactly or refused; nothing is ever rounded on the way in."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.money import (
    QTY_MAX_MICROS,
    AmountRefused,
    NotADecimal,
    average_micros,
    average_price_micros,
    format_micros,
    parse_micros,
    parse_price,
    value_micros,
)


def parse(text: str) -> int:
    return parse_micros(text.encode(), limit_micros=QTY_MAX_MICROS)


@given(st.integers(1, QTY_MAX_MICROS), st.booleans())
def test_what_is_formatted_reads_back(micros: int, quoted: bool) -> None:
    text = format_micros(micros)
    assert parse(f'"{text}"' if quoted else text) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [("1", 1_000_000), ('"0.1"', 100_000), ("0.000001", 1), ("1.5000000", 1_500_000), ("007", 7_000_000)],
)
def test_strings_and_numbers_read_alike(text: str, micros: int) -> None:
    assert parse(text) == micros


@pytest.mark.parametrize(
    "text", ["1e5", '"1E-3"', "0.0000001", "0", "-0", "-1", '"-0.5"', "9" * 30, "1000000000.000001"]
)
def test_a_decimal_that_is_not_taken_is_refused(text: str) -> None:
    with pytest.raises(AmountRefused):
        parse(text)


@pytest.mark.parametrize(
    "text", ["null", "true", "{}", "[1]", '""', '"NaN"', '"Infinity"', '"1,5"', '"1 "', '" 1"', '"+1"', '".5"', '"1."']
)
def test_what_is_no_decimal_is_unparsable(text: str) -> None:
    with pytest.raises(NotADecimal):
        parse(text)


@pytest.mark.parametrize("text", ["1.01", "585.68", "0.9999", "0.0001", "1000000", "1.010000"])
def test_prices_have_two_decimals_from_one_dollar_and_four_below(text: str) -> None:
    assert parse_price(text.encode()) == int(Decimal(text) * 1_000_000)


@pytest.mark.parametrize("text", ["1.001", "0.99999", "1000000.01", "585.6801"])
def test_finer_prices_are_refused(text: str) -> None:
    with pytest.raises(AmountRefused):
        parse_price(text.encode())


def test_negative_amounts_are_shown_with_their_sign() -> None:
    assert format_micros(-1) == "-0.000001"
    assert format_micros(-1_500_000) == "-1.500000"


def test_averages_and_values_round_half_to_even() -> None:
    assert average_micros(5, 2_000_000) == 2
    assert average_micros(7, 2_000_000) == 4
    assert average_micros(1, 0) is None
    assert value_micros(1, 500_000) == 0
    assert value_micros(3, 500_000) == 2


@pytest.mark.parametrize("text", ["1" + "0" * 40, "9" * 60_000, "0." + "0" * 60 + "1", "1" * 50 + "e1"])
def test_a_decimal_of_any_length_is_understood_and_refused(text: str) -> None:
    with pytest.raises(AmountRefused):
        parse(text)


def test_zeros_of_any_number_change_nothing() -> None:
    assert parse("000" * 50 + "1." + "0" * 50) == 1_000_000


@given(st.integers(-(10**18), 10**18), st.integers(-(10**18), 10**18).filter(bool), st.integers(1, 10**12))
def test_values_and_averages_are_exact_at_every_size(total: int, qty: int, price: int) -> None:
    assert value_micros(qty, price) == round(Fraction(qty * price, 1_000_000))
    assert average_micros(total, qty) == round(Fraction(total * 1_000_000, qty))


def test_an_average_price_is_of_the_exact_cost_also_for_dust() -> None:
    """Three micro-shares at $1.11 cost 3.33 micro-dollars, of which 3 are posted; their price was still $1.11."""
    assert average_price_micros(3 * 1_110_000, 3) == 1_110_000
    assert average_price_micros(0, 0) is None
