"""Prices: deterministic, bounded, on the grid, and exactly the base at the moment it was set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exchange.prices import START_PRICES, BasePrice, PriceBoard, round_to_tick, tick_size, walk_ppm

NOW_US = 1_780_000_000_000_000


@given(seed=st.integers(0, 2**32), at_us=st.integers(0, 2**52))
def test_the_walk_is_bounded_and_repeatable(seed: int, at_us: int) -> None:
    assert walk_ppm(seed, "AAPL", at_us) == walk_ppm(seed, "AAPL", at_us)
    assert abs(walk_ppm(seed, "AAPL", at_us)) <= 12_800


def test_the_walk_is_slow_but_moves() -> None:
    path = [walk_ppm(1, "AAPL", NOW_US + step * 500_000) for step in range(2_000)]
    assert max(abs(after - before) for before, after in pairwise(path)) < 200
    assert max(path) - min(path) > 2_000


def test_a_base_holds_at_its_moment_and_survives_a_restart() -> None:
    board = PriceBoard(1, {}, NOW_US)
    assert len(board.symbols) == len(START_PRICES) >= 30
    assert board.snapshot(NOW_US) == dict(START_PRICES)
    board.set_last("AAPL", 585_330_000, NOW_US + 5)
    assert board.px_micros("AAPL", NOW_US + 5) == 585_330_000
    written = dict(board.take_changed_bases())
    assert board.take_changed_bases() == []
    again = PriceBoard(1, written, NOW_US + 10**9)
    later_us = NOW_US + 77 * 10**9
    assert again.snapshot(later_us) == board.snapshot(later_us)
    assert again.take_changed_bases() == []


def test_an_unknown_symbol_becomes_known_by_a_price() -> None:
    board = PriceBoard(1, {"ZZZ": BasePrice(5_000_000, NOW_US)}, NOW_US)
    assert board.knows("ZZZ")
    assert not board.knows("YYY")


@given(px=st.integers(1, 10**12))
def test_prices_are_on_the_grid(px: int) -> None:
    rounded = round_to_tick(px)
    assert rounded % tick_size(px) == 0
    assert rounded > 0
    assert abs(rounded - px) <= max(tick_size(px) // 2, tick_size(px) - px)
