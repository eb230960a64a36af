"""What the demo's customers do, made from a seed. Pure: the same seed, prices and sizes give the same plan.

Buys stay well inside a customer's cash and sells inside the shares they brought, so every order that is not marked as
too large must be accepted; the few that ask for more money than there is must be refused. Anything else is a fault
of the platform.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from loadtests.figures import MICROS, to_wire

CENT = 10_000
"""In micro-dollars."""
CASH_MICROS = (20_000 * MICROS, 90_000 * MICROS)
"""Between these, for each customer: some orders are too large for some, as in life."""
BUDGET_SHARE = 0.75  # of the cash, at prices 8 % above the reference: room for the collar of market orders
SHAREHOLDER_SHARE = 0.3  # of the customers bring shares, so that there is something to sell from the start
BY_AMOUNT_SHARE = 0.08  # of the buys
AMOUNT_MIN_MICROS = 2 * MICROS  # a smaller amount might buy nothing at the price that is reached


class CommandKind(Enum):
    PLACE = "place"
    PLACE_TOO_LARGE = "too large"
    REPEAT = "repeat"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Command:
    """`order` is the number of the customer's own order that is placed, sent again with the same key, or cancelled."""

    kind: CommandKind
    order: int
    body: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holding:
    symbol: str
    qty_micros: int
    unit_cost_micros: int


@dataclass(frozen=True, slots=True)
class CustomerScript:
    number: int
    cash_micros: int
    holdings: tuple[Holding, ...]
    commands: tuple[Command, ...]


def write_scripts(
    seed: int, *, customers: int, orders: int, prices_micros: Mapping[str, int]
) -> tuple[CustomerScript, ...]:
    """`orders` in all, spread evenly; cancels and repeats come on top. Raises ValueError without a symbol."""
    symbols = sorted(prices_micros)
    if not symbols:
        raise ValueError("no symbol has a reference price, so nothing can be traded")
    scripts = []
    for number in range(customers):
        rng = random.Random(f"{seed}:{number}")
        mine = orders // customers + (1 if number < orders % customers else 0)
        scripts.append(_write_script(rng, number, mine, symbols, prices_micros))
    return tuple(scripts)


def _write_script(
    rng: random.Random, number: int, orders: int, symbols: list[str], prices_micros: Mapping[str, int]
) -> CustomerScript:
    """One customer's day: cash, perhaps shares to begin with, then commands.

    Buys stay within a budget and sells within the shares of the beginning, so every order is accepted but those that
    are too large on purpose. Some are repeated with their key, some cancelled afterwards. The same `rng`, the same
    script.
    """
    cash_micros = rng.randrange(*CASH_MICROS) // CENT * CENT
    budget_micros = int(cash_micros * BUDGET_SHARE)
    holdings: list[Holding] = []
    if rng.random() < SHAREHOLDER_SHARE:
        for symbol in rng.sample(symbols, min(2, len(symbols))):
            cost_micros = prices_micros[symbol] * rng.randint(60, 110) // 100 // CENT * CENT
            holdings.append(Holding(symbol, rng.randint(20, 200) * MICROS, max(CENT, cost_micros)))
    sellable = {holding.symbol: holding.qty_micros for holding in holdings}
    commands: list[Command] = []
    placed: list[int] = []
    for order in range(orders):
        if rng.random() < 0.01:
            commands.append(
                Command(CommandKind.PLACE_TOO_LARGE, order, _too_large(rng, symbols, prices_micros, cash_micros))
            )
            continue
        left = [symbol for symbol, qty_micros in sellable.items() if qty_micros >= MICROS]
        if left and rng.random() < 0.45:
            symbol = rng.choice(left)
            qty_micros = min(sellable[symbol], rng.randint(1, 15) * MICROS)
            sellable[symbol] -= qty_micros
            body = _terms(rng, symbol, "sell", qty_micros, prices_micros[symbol])
        else:
            symbol = rng.choice(symbols)
            ceiling_micros = prices_micros[symbol] * 108 // 100
            fair_share = budget_micros // max(1, orders)
            qty_micros = max(1, int(fair_share * rng.uniform(0.3, 0.95)) // ceiling_micros) * MICROS
            if rng.random() < 0.1:
                qty_micros = max(qty_micros // 4, MICROS // 10)
            cost_micros = qty_micros * ceiling_micros // MICROS
            if cost_micros > budget_micros:
                continue
            budget_micros -= cost_micros
            if rng.random() < BY_AMOUNT_SHARE and cost_micros > AMOUNT_MIN_MICROS:
                body = _by_amount(symbol, cost_micros)
            else:
                body = _terms(rng, symbol, "buy", qty_micros, prices_micros[symbol])
        commands.append(Command(CommandKind.PLACE, order, body))
        placed.append(order)
        if rng.random() < 0.03:
            commands.append(Command(CommandKind.REPEAT, rng.choice(placed)))
        if rng.random() < 0.15:
            commands.append(Command(CommandKind.CANCEL, placed.pop(rng.randrange(len(placed)))))
    return CustomerScript(number, cash_micros, tuple(holdings), tuple(commands))


def _terms(rng: random.Random, symbol: str, side: str, qty_micros: int, reference_micros: int) -> Mapping[str, object]:
    body: dict[str, object] = {"symbol": symbol, "side": side, "qty": to_wire(qty_micros), "time_in_force": "day"}
    if rng.random() < 0.35:
        return {**body, "type": "market"}
    # Some limits cross the market at once, most rest near it, none leaves the price band of 10 %.
    away_bps = rng.choice((-150, -40, 10, 30, 60, 120, 250, 500))
    sign = -1 if side == "buy" else 1
    limit_micros = reference_micros * (10_000 + sign * away_bps) // 10_000
    return {**body, "type": "limit", "limit_price": to_wire(to_tick(limit_micros))}


def _by_amount(symbol: str, cost_micros: int) -> Mapping[str, object]:
    """Whole cents of a share, whatever it costs."""
    amount = to_wire(cost_micros // CENT * CENT)
    return {"symbol": symbol, "side": "buy", "type": "market", "notional": amount, "time_in_force": "day"}


def _too_large(
    rng: random.Random, symbols: list[str], prices_micros: Mapping[str, int], cash_micros: int
) -> Mapping[str, object]:
    symbol = rng.choice(symbols)
    qty_micros = (cash_micros * 3 // prices_micros[symbol] + 1) * MICROS
    return {
        "symbol": symbol,
        "side": "buy",
        "type": "limit",
        "qty": to_wire(qty_micros),
        "limit_price": to_wire(to_tick(prices_micros[symbol])),
        "time_in_force": "day",
    }


def to_tick(price_micros: int) -> int:
    """Down to what may be quoted: cents from one dollar on, hundredths of a cent below."""
    tick_micros = CENT if price_micros >= MICROS else CENT // 100
    return max(tick_micros, price_micros // tick_micros * tick_micros)
