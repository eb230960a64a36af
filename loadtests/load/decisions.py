"""What a customer does when a request is due: from wants, wallet and heat to one request. Pure and seeded.

Amounts are small (a few dollars, a few shares), so that accounts stay inside the limits of a retail customer. What a
customer may sell is what they have seen in their positions; who wants to sell and knows of nothing looks first.
"""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from loadtests.figures import MICROS, to_wire
from loadtests.load.customer_classes import CustomerClass, Want
from loadtests.load.symbols import SymbolPopularity

CENT_MICROS: Final = 10_000
"""Micro-dollars."""
AMOUNTS: Final = (5, 60)
"""Dollars of one buy."""
OPEN_ORDERS_KEPT: Final = 50
"""Of a customer's own orders that may still be cancelled; what is older rests until it is filled or expires."""
AWAY_PERCENT: Final = (1, 6)
"""How far a limit lies from the market: inside the price band of 10 %, and far enough to rest at first."""


@dataclass(slots=True)
class Wallet:
    """What a customer knows of their own account."""

    sellable_micros: dict[str, int] = field(default_factory=dict)
    open_orders: deque[str] = field(default_factory=lambda: deque(maxlen=OPEN_ORDERS_KEPT))


@dataclass(frozen=True, slots=True)
class Request:
    """`operation` names it in statistics; `path` is without what is secret, so it may be written down."""

    operation: str
    method: str
    path: str
    order: dict[str, str] | None = None


def decide(
    who: CustomerClass,
    wallet: Wallet,
    popularity: SymbolPopularity,
    prices_micros: dict[str, int],
    heat: float,
    chance: random.Random,
) -> Request:
    """One request; takes what it sells or cancels out of the wallet."""
    want = chance.choices(tuple(who.wants), tuple(who.wants.values()))[0]
    symbol = popularity.meme if who.only_meme else popularity.pick(chance, heat)
    match want:
        case Want.BUY_NOW:
            return _order({"symbol": symbol, "side": "buy", "type": "market", "notional": _amount(chance)})
        case Want.BUY_BELOW if symbol in prices_micros:
            return _order(_limit_buy(symbol, prices_micros[symbol], chance))
        case Want.SELL_NOW | Want.SELL_ABOVE:
            return _sell(want, wallet, symbol, prices_micros, chance)
        case Want.CANCEL if wallet.open_orders:
            return Request("cancel", "DELETE", f"/v1/orders/{wallet.open_orders.popleft()}")
        case Want.PORTFOLIO:
            return Request("portfolio", "GET", "/v1/portfolio")
        case Want.POSITIONS:
            return _look_at_positions()
        case Want.ORDERS | Want.CANCEL:
            return Request("orders", "GET", "/v1/orders?limit=20")
        case _:
            return Request("quote", "GET", f"/v1/symbols/{symbol}")


def _order(terms: dict[str, str]) -> Request:
    return Request("order", "POST", "/v1/orders", {**terms, "time_in_force": "day"})


def _look_at_positions() -> Request:
    return Request("positions", "GET", "/v1/positions")


def _amount(chance: random.Random) -> str:
    return str(chance.randint(*AMOUNTS))


def _limit_buy(symbol: str, price_micros: int, chance: random.Random) -> dict[str, str]:
    limit_micros = price_micros * (100 - chance.randint(*AWAY_PERCENT)) // 100
    return {
        "symbol": symbol,
        "side": "buy",
        "type": "limit",
        "qty": "1",
        "limit_price": to_wire(whole_cents(limit_micros)),
    }


def _sell(want: Want, wallet: Wallet, symbol: str, prices_micros: dict[str, int], chance: random.Random) -> Request:
    """Of the symbol, or of another that they own; a part of it, at least what is left of a share."""
    if symbol not in wallet.sellable_micros:
        others = sorted(wallet.sellable_micros)
        if not others:
            return _look_at_positions()
        symbol = chance.choice(others)
    owned_micros = wallet.sellable_micros[symbol]
    qty_micros = min(owned_micros, chance.randint(1, 3) * MICROS)
    if owned_micros - qty_micros > 0:
        wallet.sellable_micros[symbol] = owned_micros - qty_micros
    else:
        del wallet.sellable_micros[symbol]
    terms = {"symbol": symbol, "side": "sell", "qty": to_wire(qty_micros)}
    if want is Want.SELL_NOW or symbol not in prices_micros or qty_micros % MICROS:
        return _order({**terms, "type": "market"})
    limit_micros = prices_micros[symbol] * (100 + chance.randint(*AWAY_PERCENT)) // 100
    return _order({**terms, "type": "limit", "limit_price": to_wire(whole_cents(limit_micros))})


def whole_cents(price_micros: int) -> int:
    """At least one cent: what may be quoted from one dollar on, and a price of less than that may, too."""
    return max(CENT_MICROS, price_micros // CENT_MICROS * CENT_MICROS)
