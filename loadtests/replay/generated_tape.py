"""A tape in LOBSTER's format made from a seed, for machines that hold no recorded data.

The same seed gives the same bytes. It holds what recorded tapes hold: orders that are filled in one piece or
several, deleted before or after a partial fill, left open; hidden executions, a halt, events of orders from before
the first row, order id 0. It imitates the shape of a tape, not the behaviour of a market.
"""

import random
from dataclasses import dataclass

OPENING_NS = 34_200_000_000_000
"""9:30 in the morning, as tapes count: nanoseconds since midnight."""
TICK = 100  # one cent, in dollars x 10,000


@dataclass(slots=True)
class _Resting:
    order_id: int
    left: int
    price: int
    direction: int


def generate_tape(
    seed: int, *, rows: int = 400, mid_price: int = 1_850_000, partial_cancels: bool = False, spread_ticks: int = 120
) -> str:
    """Text of a message file. `mid_price` is in dollars x 10,000 and must be whole cents.

    Half of the rows are new orders; the others delete, execute or (if wanted) partly cancel one that is open, or are
    what a player must count and leave alone: hidden executions, orders from before the tape, halts. Raises ValueError
    for fewer than ten rows.
    """
    if rows < 10:
        raise ValueError(f"a tape of fewer than 10 rows shows nothing: {rows}")
    rng = random.Random(seed)
    book: list[_Resting] = []
    lines: list[str] = []
    now_ns = OPENING_NS + rng.randrange(1_000_000)
    next_id = 1_000_000 + rng.randrange(1_000_000)
    foreign_id = 500_000
    while len(lines) < rows:
        now_ns += int(rng.expovariate(1 / 40_000_000)) + 1
        drawn = rng.random()
        if drawn < 0.50 or not book:
            next_id += rng.randint(1, 40)
            direction = rng.choice((1, -1))
            price = mid_price - direction * TICK * rng.randint(1, spread_ticks)
            order = _Resting(next_id, rng.choice((1, 10, 18, 50, 100, 100, 200, 350)), price, direction)
            book.append(order)
            lines.append(_row(now_ns, 1, order, order.left))
        elif drawn < 0.74:
            order = book.pop(rng.randrange(len(book)))
            lines.append(_row(now_ns, 3, order, order.left))
        elif drawn < 0.92:
            order = book[rng.randrange(len(book))]
            size = order.left if rng.random() < 0.5 else rng.randint(1, order.left)
            lines.append(_row(now_ns, 4, order, size))
            order.left -= size
            if order.left == 0:
                book.remove(order)
        elif drawn < 0.95:
            lines.append(f"{_time(now_ns)},5,0,{rng.randint(1, 100)},{mid_price},{rng.choice((1, -1))}")
        elif drawn < 0.98:
            foreign_id += 1
            stranger = _Resting(foreign_id, rng.randint(1, 100), mid_price, rng.choice((1, -1)))
            lines.append(_row(now_ns, rng.choice((3, 4)), stranger, stranger.left))
        elif drawn < 0.99 and partial_cancels:
            order = book[rng.randrange(len(book))]
            if order.left > 1:
                size = rng.randint(1, order.left - 1)
                lines.append(_row(now_ns, 2, order, size))
                order.left -= size
        else:
            lines.append(f"{_time(now_ns)},7,0,0,{rng.choice((-1, 0, 1))},-1")
    return "\n".join(lines) + "\n"


def _row(at_ns: int, kind: int, order: _Resting, size: int) -> str:
    return f"{_time(at_ns)},{kind},{order.order_id},{size},{order.price},{order.direction}"


def _time(at_ns: int) -> str:
    return f"{at_ns // 1_000_000_000}.{at_ns % 1_000_000_000:09d}"
