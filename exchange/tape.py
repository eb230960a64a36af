"""A recorded tape (LOBSTER message file): read strictly, then each order gets exactly its own executions.

Columns: seconds after midnight, type, order id, size in shares, price in dollars x 10,000, direction (1 buy, -1 sell).
Type 1 opens an order, 4 executes part of it, 3 deletes what is left. Type 2 (partial cancellation) takes off a part: a
tape that `waits_for_replace` executes what follows only after somebody replaced the order by a smaller one, as one who
plays the tape in full does; others execute on, and take a replacement whenever it comes. 5 and 6 (hidden and cross
trades), 7 (halts), order id 0 and orders from before the first row are counted and ignored. A row that contradicts an
earlier one refuses the whole tape, naming line, column and value. Times are rounded to the nanosecond, however finely
they are written, and their order is judged so. Pure: no clock, no socket, no file.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from exchange.errors import TapeInvalid
from exchange.paper import Step
from exchange.wire import Submit

MICROS_PER_SHARE: Final = 1_000_000
MICROS_PER_TAPE_PX: Final = 100
"""A tape's prices are in ten-thousandths of a dollar."""
SIZE_MAX: Final = 1_000_000_000
"""Shares of one row."""
PX_MAX: Final = 10_000_000_000
"""In the tape's unit: a million dollars."""
ROWS_MAX: Final = 2_000_000
"""Twice the busiest day of one symbol that we have seen; a tape is in memory while it is read."""
DAY_S: Final = 86_400
_NS_PER_S: Final = Decimal(1_000_000_000)
FILL_GAP_US: Final = 2_000
"""Between two fills of an order: the order of the tape is kept, its pace is the player's."""

NEW, PARTIAL_CANCEL, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_TIME: Final = re.compile(r"\d{1,20}(?:\.(\d*))?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_DECIMALS_MAX: Final = 60
"""Of a time: what a double has at most when it is written out is fewer, and the product below stays exact."""
_INTEGER: Final = re.compile(r"-?\d+")
_DIGITS_MAX: Final = 18
_SHOWN_CHARS_MAX: Final = 40
"""Of a value that is refused: enough to find it in the file."""
_EXACT: Final = Context(prec=80)
"""Digits; a time and a thousand million need fewer than forty."""
_COLUMNS: Final = ("time", "type", "order id", "size", "price", "direction")
_IGNORED: Final = {HIDDEN: "hidden_executions", CROSS: "cross_trades", HALT: "halts"}


@dataclass(frozen=True, slots=True)
class TapeFill:
    """One execution."""

    qty: int
    px: int


@dataclass(frozen=True, slots=True)
class TapeOrder:
    """What the tape says of one order; the executions all precede the deletion."""

    tape_id: int
    line: int
    side: str
    order_qty: int
    limit_px: int
    fills: tuple[TapeFill, ...]
    deleted: bool
    reductions: tuple[tuple[int, int], ...] = ()
    """(how many of the fills precede it, quantity) of each partial cancellation that leaves something."""


@dataclass(frozen=True, slots=True)
class Tape:
    """A tape that can be played: run `run` of `symbol`."""

    symbol: str
    run: str
    digest: str
    rows: int
    first_px: int
    limits_px: tuple[int, int]
    """The lowest and the highest limit of its orders."""
    orders: Mapping[int, TapeOrder]
    counts: Mapping[str, int]
    waits_for_replace: bool = False


@dataclass(slots=True)
class _OpenOrder:
    tape_id: int
    line: int
    side: str
    size: int
    px: int
    left: int
    fills: list[TapeFill] = field(default_factory=list)
    reductions: list[tuple[int, int]] = field(default_factory=list)
    deleted_at_line: int | None = None


def parse_tape(content: bytes, *, symbol: str, run: str, waits_for_replace: bool = False) -> Tape:
    """Read a whole message file; raises TapeInvalid with the line that cannot be."""
    orders: dict[int, _OpenOrder] = {}
    counts: Counter[str] = Counter()
    lines = _lines(content)
    time_before_ns = 0
    for number, text in enumerate(lines, start=1):
        columns = text.removesuffix("\r").split(",")
        if len(columns) != len(_COLUMNS):
            found = f"{len(columns)} columns" if text.strip() else "nothing"
            raise TapeInvalid(number, f"has {found} instead of 6 columns ({', '.join(_COLUMNS)})")
        time_ns = _nanoseconds(columns[0], number)
        if time_ns < time_before_ns:
            before = lines[number - 2].partition(",")[0]
            raise TapeInvalid(number, f"time {columns[0]} is earlier than {before} of the line before")
        time_before_ns = time_ns
        kind, tape_id, size, px, direction = (_integer(columns[at], _COLUMNS[at], number) for at in range(1, 6))
        _check_row(number, kind, tape_id, size, px, direction)
        counts[_follow_row(orders, number, kind, tape_id, size, px, "buy" if direction == 1 else "sell")] += 1
    if not orders:
        raise TapeInvalid(len(lines), "the tape ends without a new order (type 1)")
    return Tape(
        symbol=symbol,
        run=run,
        digest=hashlib.sha256(content).hexdigest(),
        rows=len(lines),
        first_px=next(iter(orders.values())).px,
        limits_px=(min(order.px for order in orders.values()), max(order.px for order in orders.values())),
        orders={tape_id: _finished(order) for tape_id, order in orders.items()},
        counts=dict(sorted(counts.items())),
        waits_for_replace=waits_for_replace,
    )


def difference_from_tape(order: Submit, on_tape: TapeOrder) -> str | None:
    """Why this is not the tape's order, or None if it is."""
    if order.side != on_tape.side:
        return f"tape order {on_tape.tape_id} is a {on_tape.side}, not a {order.side}"
    if order.cash_qty is not None:
        return f"tape order {on_tape.tape_id} is for a quantity, not for an amount"
    if order.order_qty != on_tape.order_qty:
        return f"tape order {on_tape.tape_id} is for {on_tape.order_qty} micro-shares, not {order.order_qty}"
    if order.limit_px != on_tape.limit_px:
        return f"tape order {on_tape.tape_id} has the limit {on_tape.limit_px} micro-dollars, not {order.limit_px}"
    if order.time_in_force not in ("day", "gtc") or order.ord_type != "limit":
        return f"tape order {on_tape.tape_id} is a limit order that may rest"
    return None


def plan_tape_order(on_tape: TapeOrder, *, at_us: int, waits_for_replace: bool = False) -> tuple[Step, ...]:
    """The order's acceptance and its executions, in the order of the tape, at the tape's prices."""
    steps = [Step(at_us, "accepted")]
    reductions = on_tape.reductions if waits_for_replace else ()
    for number, fill in enumerate(on_tape.fills):
        steps += (Step(at_us, "reduce", qty) for before, qty in reductions if before == number)
        steps.append(Step(at_us + FILL_GAP_US * (number + 1), "fill", fill.qty, fill.px))
    steps += (Step(at_us, "reduce", qty) for before, qty in reductions if before == len(on_tape.fills))
    return tuple(steps)


def tape_id_of(client_order_id: str | None, run: str) -> int | None:
    """The tape id in `<run>-<tape id>`, if that is what the text is."""
    if client_order_id is None or not client_order_id.startswith(f"{run}-"):
        return None
    digits = client_order_id[len(run) + 1 :]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None


def _lines(content: bytes) -> list[str]:
    content = content.removeprefix(_BYTE_ORDER_MARK)
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TapeInvalid(line, f"holds the byte 0x{content[error.start]:02x}, which is not ASCII") from error
    lines = text.split("\n")
    while lines and not lines[-1].strip():  # the end of the last line, and empty lines after it
        lines.pop()
    if not lines:
        raise TapeInvalid(1, "the tape is empty")
    if len(lines) > ROWS_MAX:
        raise TapeInvalid(ROWS_MAX + 1, f"a tape has at most {ROWS_MAX} rows")
    return lines


def _nanoseconds(text: str, line: int) -> int:
    """Rounded, a half to the even one: recorders write as many digits as their clock has."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise TapeInvalid(line, f"time {text[:_SHOWN_CHARS_MAX]!r} is not a number of seconds after midnight")
    if len(match[1] or "") > _DECIMALS_MAX:
        raise TapeInvalid(line, f"time {text[:_SHOWN_CHARS_MAX]} has more than {_DECIMALS_MAX} decimals")
    seconds = Decimal(text)
    if seconds > DAY_S:
        raise TapeInvalid(line, f"time {text[:_SHOWN_CHARS_MAX]} is after the end of the day ({DAY_S} seconds)")
    return int(_EXACT.multiply(seconds, _NS_PER_S).to_integral_value(ROUND_HALF_EVEN))


def _integer(text: str, column: str, line: int) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise TapeInvalid(line, f"{column} {text[:_SHOWN_CHARS_MAX]!r} is not a whole number")
    if len(text) > _DIGITS_MAX:
        raise TapeInvalid(line, f"{column} {text[:_SHOWN_CHARS_MAX]} has more than {_DIGITS_MAX} characters")
    return int(text)


def _check_row(line: int, kind: int, tape_id: int, size: int, px: int, direction: int) -> None:
    if not NEW <= kind <= HALT:
        raise TapeInvalid(line, f"type {kind} is not one of 1 to 7")
    if direction not in (1, -1):
        raise TapeInvalid(line, f"direction {direction} is neither 1 (buy) nor -1 (sell)")
    if kind in _IGNORED:
        return
    if tape_id < 0:
        raise TapeInvalid(line, f"order id {tape_id} is negative")
    if not 0 < size <= SIZE_MAX:
        raise TapeInvalid(line, f"size {size} is not between 1 and {SIZE_MAX}")
    if not 0 < px <= PX_MAX:
        raise TapeInvalid(line, f"price {px} is not between 1 and {PX_MAX}")


def _follow_row(
    orders: dict[int, _OpenOrder], line: int, kind: int, tape_id: int, size: int, tape_px: int, side: str
) -> str:
    """Let the row act on its order; returns the name under which it is counted.

    Rows that cannot be played are counted and passed over: other kinds, id zero, orders from before the tape. Rows that
    contradict the tape itself raise TapeInvalid: an order twice, more than is left of it, a price beyond its limit,
    anything after its end. A partial cancellation that takes everything is played as a deletion.
    """
    if kind in _IGNORED:
        return _IGNORED[kind]
    if tape_id == 0:
        return "order_id_zero"
    order = orders.get(tape_id)
    px = tape_px * MICROS_PER_TAPE_PX
    if kind == NEW:
        if order is not None:
            raise TapeInvalid(line, f"order {tape_id} was already submitted at line {order.line}")
        orders[tape_id] = _OpenOrder(tape_id, line, side, size, px, size)
        return "new_orders"
    if order is None:
        return "of_orders_from_before_the_tape"
    _check_follows(order, line, side)
    if kind == DELETE:
        order.deleted_at_line = line
        return "deletions"
    if size > order.left:
        raise TapeInvalid(line, f"size {size} is more than the {order.left} that order {tape_id} has left")
    order.left -= size
    if kind == PARTIAL_CANCEL:
        if order.left:  # one that takes everything is played as a deletion
            order.reductions.append((len(order.fills), size * MICROS_PER_SHARE))
        return "partial_cancellations"
    if (px > order.px) if side == "buy" else (px < order.px):
        limit = order.px // MICROS_PER_TAPE_PX
        raise TapeInvalid(line, f"price {tape_px} is worse for order {tape_id} than its limit {limit}")
    order.fills.append(TapeFill(size * MICROS_PER_SHARE, px))
    return "executions"


def _check_follows(order: _OpenOrder, line: int, side: str) -> None:
    if order.deleted_at_line is not None:
        raise TapeInvalid(line, f"order {order.tape_id} was already deleted at line {order.deleted_at_line}")
    if order.left == 0:
        raise TapeInvalid(line, f"order {order.tape_id} has nothing left")
    if side != order.side:
        raise TapeInvalid(line, f"direction contradicts line {order.line}: order {order.tape_id} is a {order.side}")


def _finished(order: _OpenOrder) -> TapeOrder:
    return TapeOrder(
        tape_id=order.tape_id,
        line=order.line,
        side=order.side,
        order_qty=order.size * MICROS_PER_SHARE,
        limit_px=order.px,
        fills=tuple(order.fills),
        deleted=order.deleted_at_line is not None,
        reductions=tuple(order.reductions),
    )
