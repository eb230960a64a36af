"""What is heard between two writes: of a symbol the last price and the two that a stop may have been touched by."""

from hypothesis import given
from hypothesis import strategies as st

from cell.executions.market_queries import NumberedPrice
from cell.executions.prices import PriceRange

PRICES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@given(pxs=PRICES, stop=st.integers(1, 9))
def test_three_prices_say_of_every_stop_what_all_of_them_say(pxs: list[int], stop: int) -> None:
    """A stop's mark is a number that was written, so it is before all of these."""
    told = [NumberedPrice("AAPL", px, number) for number, px in enumerate(pxs, start=1)]
    heard = PriceRange.of(told[0])
    for price in told[1:]:
        heard = heard.then(price)
    kept = {heard.lowest, heard.highest, heard.last}
    assert heard.last == told[-1]
    assert kept <= set(told)
    kept_pxs = [price.px_micros for price in kept]
    assert any(px >= stop for px in kept_pxs) == any(px >= stop for px in pxs), "a stop that buys"
    assert any(px <= stop for px in kept_pxs) == any(px <= stop for px in pxs), "a stop that sells"
