"""What a hostile customer thinks up: orders and changes of every kind, some of them just beyond what is allowed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

MICROS = 1_000_000
SYMBOLS = ("AAPL", "GME", "F", "SNDL")
OTHER_SYMBOL = "T"
"""Never traded here, only brought in."""
Body = dict[str, Any]


def dollars(micros: int) -> str:
    return f"{Decimal(micros) / MICROS:f}"


def to_tick(px: int) -> int:
    tick = 10_000 if px >= MICROS else 100
    return max(tick, px // tick * tick)


@dataclass
class RandomChoices:
    chance: random.Random
    prices: Mapping[str, int]
    """The last ones, as the venue tells them."""
    names: list[str] = field(default_factory=list)

    def changes(self, order: Body) -> Body:
        changes: Body = {}
        if self.chance.random() < 0.6:
            changes["qty"] = self._qty()
        if order["limit_price"] is not None and self.chance.random() < 0.5:
            changes["limit_price"] = self._price(order["symbol"], order["side"])
        if order["stop_price"] is not None and self.chance.random() < 0.5:
            changes["stop_price"] = self._price(order["symbol"], order["side"])
        if not changes or self.chance.random() < 0.2:
            changes["time_in_force"] = self.chance.choice(("day", "gtc", "ioc", "fok"))
        if self.chance.random() < 0.2:
            changes["client_order_id"] = f"r{self.chance.randrange(10**9)}"
        return changes

    def order(self) -> Body:
        symbol, side = self.chance.choice(SYMBOLS), self.chance.choice(("buy", "buy", "sell"))
        kind = self.chance.choices(("market", "limit", "stop", "stop_limit"), (20, 50, 20, 10))[0]
        body: Body = {"symbol": symbol, "side": side, "type": kind}
        if kind in ("market", "limit") and self.chance.random() < 0.25:
            body["notional"] = dollars(self.chance.randint(MICROS, 900 * MICROS))
        else:
            body["qty"] = self._qty()
        if kind in ("limit", "stop_limit"):
            body["limit_price"] = self._price(symbol, side)
        if kind in ("stop", "stop_limit"):
            away = self.chance.choice((-300, -20, 0, 3, 5, 20, 400)) * (1 if side == "buy" else -1)
            body["stop_price"] = dollars(to_tick(self.prices[symbol] * (10_000 + away) // 10_000))
        if self.chance.random() < 0.8:
            body["time_in_force"] = self.chance.choice(("day", "day", "gtc", "gtc", "ioc", "fok"))
        if self.chance.random() < 0.3:
            name = f"n{self.chance.randrange(10**9)}" if self.chance.random() < 0.85 or not self.names else None
            body["client_order_id"] = name or self.chance.choice(self.names)
            self.names.append(body["client_order_id"])
        return body

    def _qty(self) -> str:
        whole = self.chance.randint(1, 30) * MICROS
        return dollars(self.chance.choice((whole, whole, self.chance.randint(1, 9 * MICROS), 1)))

    def _price(self, symbol: str, side: str) -> str:
        through = self.chance.choice((-1_200, -600, -300, -200, -120, -60, -10, 0, 20, 120, 400)) * (
            1 if side == "buy" else -1
        )
        return dollars(to_tick(self.prices[symbol] * (10_000 + through) // 10_000))

    def another(self, body: Body) -> Body:
        """The same with one thing different."""
        for name in ("qty", "notional", "amount", "limit_price"):
            if name in body:
                value = Decimal(str(body[name])) + (Decimal("0.01") if name == "limit_price" else 1)
                return {**body, name: f"{value:f}"}
        return {**body, "time_in_force": "gtc" if body.get("time_in_force") != "gtc" else "day"}
