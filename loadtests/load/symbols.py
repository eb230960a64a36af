"""Which symbol an order is about: popularity by Zipf's law, and a meme whose share rises with the heat. Pure."""

import random
from bisect import bisect
from itertools import accumulate
from typing import Final

EXPONENT: Final = 1.1
"""Of Zipf's law: the first of ten symbols gets about a third of all orders, the last a fortieth."""
MEME_SHARE_MAX: Final = 0.85
"""Of what anybody does at full heat: on such a morning nearly everything is about one symbol."""


class SymbolPopularity:
    """`symbols` in order of popularity; the meme is one of them, and no favourite while it is calm."""

    def __init__(self, symbols: tuple[str, ...], meme: str) -> None:
        """Raises ValueError for a meme that is not among them."""
        if meme not in symbols:
            raise ValueError(f"the meme {meme} is not among the symbols that can be traded: {', '.join(symbols)}")
        self.meme = meme
        self.symbols = (*(symbol for symbol in symbols if symbol != meme), meme)
        self._rising = list(accumulate(1.0 / rank**EXPONENT for rank in range(1, len(symbols) + 1)))

    def pick(self, chance: random.Random, heat: float) -> str:
        """At heat 0 the meme is the least popular of all; at heat 1 it has `MEME_SHARE_MAX` and more."""
        if chance.random() < heat * MEME_SHARE_MAX:
            return self.meme
        return self.symbols[bisect(self._rising, chance.random() * self._rising[-1])]
