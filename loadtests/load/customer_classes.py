"""Who the customers are, as data: how many of each class, how active, what they own at first, what they tend to do.

`calm` and `hot` are shares of all requests at heat 0 and 1. What they do is a table of wants with weights;
`decisions` makes requests of it. Every class that buys also sells, so money comes back and accounts last for many runs.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Want(StrEnum):
    QUOTE = "quote"
    PORTFOLIO = "portfolio"
    POSITIONS = "positions"
    ORDERS = "orders"
    BUY_NOW = "buy now"
    BUY_BELOW = "buy below"
    SELL_NOW = "sell now"
    SELL_ABOVE = "sell above"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class CustomerClass:
    name: str
    share: float
    """Of all accounts."""
    calm: float
    hot: float
    wants: dict[Want, float]
    only_meme: bool = False
    shares: int = 0
    """Of the meme, and of the most popular symbol, at first."""
    paced_per_s: float | None = None
    """Requests per second of one customer, whatever the morning brings."""

    def activity(self, heat: float) -> float:
        return self.calm + (self.hot - self.calm) * heat


CLASSES: Final = (
    CustomerClass(
        "lurker",
        share=0.31,
        calm=0.40,
        hot=0.25,
        wants={Want.QUOTE: 6, Want.PORTFOLIO: 3, Want.ORDERS: 1},
    ),
    CustomerClass(
        "holder",
        share=0.20,
        calm=0.22,
        hot=0.08,
        wants={Want.PORTFOLIO: 6, Want.QUOTE: 2, Want.POSITIONS: 2, Want.BUY_NOW: 1, Want.SELL_NOW: 1},
        shares=20,
    ),
    CustomerClass(
        "day-trader",
        share=0.12,
        calm=0.25,
        hot=0.12,
        wants={
            Want.BUY_BELOW: 4,
            Want.SELL_ABOVE: 3,
            Want.SELL_NOW: 1,
            Want.POSITIONS: 2,
            Want.CANCEL: 3,
            Want.QUOTE: 3,
        },
        shares=40,
    ),
    CustomerClass(
        "fomo-buyer",
        share=0.22,
        calm=0.06,
        hot=0.35,
        wants={Want.BUY_NOW: 6, Want.QUOTE: 2, Want.POSITIONS: 1, Want.SELL_NOW: 3},
        only_meme=True,
    ),
    CustomerClass(
        "panic-seller",
        share=0.14,
        calm=0.07,
        hot=0.20,
        wants={Want.SELL_NOW: 5, Want.POSITIONS: 2, Want.PORTFOLIO: 2, Want.BUY_NOW: 2},
        only_meme=True,
        shares=100,
    ),
    # A retail account may place 60 orders a minute. A bot's requests are half orders, half cancels: 54 of each.
    CustomerClass(
        "bot",
        share=0.01,
        calm=0.0,
        hot=0.0,
        wants={Want.BUY_BELOW: 1, Want.CANCEL: 1},
        paced_per_s=1.8,
    ),
)
BY_NAME: Final = {each.name: each for each in CLASSES}


def head_counts(accounts: int) -> dict[str, int]:
    """How many of each class, by shares, largest remainders first; at least one of each where there are enough. Raises
    ValueError for fewer."""
    if accounts < len(CLASSES):
        raise ValueError(f"at least {len(CLASSES)} accounts, one of each class, not {accounts}")
    exact = {each.name: accounts * each.share for each in CLASSES}
    counts = {name: max(1, int(share)) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_remainder[: accounts - sum(counts.values())]:
        counts[name] += 1
    return counts
