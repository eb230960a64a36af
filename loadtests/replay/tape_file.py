"""Read a LOBSTER message file: strict, every refusal names file, line, column and value. Times are rounded to the
nanosecond, however finely they are written, and their order is judged so.

Columns: seconds after midnight, type, order id, size in shares, price in dollars x 10,000, direction (1 buy, -1 sell).
Only the shape of single rows is judged here; what rows mean together is the business of `tape_plan`.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import IntEnum
from pathlib import Path

SIZE_MAX = 1_000_000_000
"""Shares of one row: a thousand million, as the exchange takes."""
PRICE_MAX = 10_000_000_000
"""Of one row, in ten-thousandths of a dollar: a million dollars."""
ROWS_MAX = 2_000_000
"""Rows are held in memory, at some hundred bytes each."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TIME = re.compile(r"\d{1,20}(?:\.(\d*))?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_DECIMALS_MAX = 60
"""Of a time: what a double has at most when it is written out is fewer, and the product below stays exact."""
_INTEGER = re.compile(r"-?\d+")
_DIGITS_MAX = 18
"""Of an integer: what 64 bits hold."""
_SHOWN_CHARS_MAX = 40
"""Of a wrong value, in the refusal that quotes it."""
_DAY_S = 86_400
_NS_PER_S = Decimal(1_000_000_000)
_EXACT = Context(prec=80)
"""Digits; `_DECIMALS_MAX` and the day's five fit."""
_COLUMNS = ("time", "type", "order id", "size", "price", "direction")


class TapeRefused(Exception):
    """The file is not a tape that can be played; says where and why."""

    def __init__(self, file: str, line: int | None, cause: str) -> None:
        self.file = file
        self.line = line
        self.cause = cause
        super().__init__(f"{file}: {cause}" if line is None else f"{file}, line {line}: {cause}")


class RowKind(IntEnum):
    """LOBSTER's numbers."""

    NEW = 1
    PARTIAL_CANCEL = 2
    DELETE = 3
    EXECUTE_VISIBLE = 4
    EXECUTE_HIDDEN = 5
    CROSS_TRADE = 6
    HALT = 7


NAMES_AN_ORDER = frozenset({RowKind.NEW, RowKind.PARTIAL_CANCEL, RowKind.DELETE, RowKind.EXECUTE_VISIBLE})


@dataclass(frozen=True, slots=True)
class TapeRow:
    line: int
    at_ns: int
    kind: RowKind
    order_id: int
    size: int
    price: int
    direction: int


def read_tape(path: Path) -> list[TapeRow]:
    """The rows of a file, in its order. Raises TapeRefused."""
    try:
        text = path.read_bytes().removeprefix(_BYTE_ORDER_MARK).decode("ascii")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise TapeRefused(str(path), line, f"not a text file: the byte 0x{byte:02x} is not ASCII") from None
    except OSError as error:
        raise TapeRefused(str(path), None, f"cannot be read: {error.strerror}") from error
    return parse_tape(text, str(path))


def parse_tape(text: str, file: str) -> list[TapeRow]:
    """The rows of a text; `file` is its name in a refusal. Raises TapeRefused."""
    lines = text.split("\n")
    while lines and not lines[-1].strip():  # the end of the last line, and empty lines after it
        lines.pop()
    if not lines:
        raise TapeRefused(file, None, "is empty")
    if len(lines) > ROWS_MAX:
        raise TapeRefused(file, None, f"has {len(lines)} rows, more than {ROWS_MAX}")
    rows: list[TapeRow] = []
    before_ns = 0
    for number, line in enumerate(lines, start=1):
        row = _parse_row(line.removesuffix("\r"), file, number)
        if row.at_ns < before_ns:
            now, before = (text.partition(",")[0] for text in (line, lines[number - 2]))
            raise TapeRefused(file, number, f"time {now} is earlier than {before} of the line before")
        before_ns = row.at_ns
        rows.append(row)
    return rows


def _parse_row(text: str, file: str, line: int) -> TapeRow:
    columns = text.split(",")
    if len(columns) != len(_COLUMNS):
        found = f"{len(columns)} columns" if text.strip() else "nothing"
        raise TapeRefused(file, line, f"has {found} instead of 6 columns ({', '.join(_COLUMNS)})")
    at_ns = _nanoseconds(columns[0], file, line)
    kind_number, order_id, size, price, direction = (
        _integer(columns[column], _COLUMNS[column], file, line) for column in range(1, 6)
    )
    if not RowKind.NEW <= kind_number <= RowKind.HALT:
        raise TapeRefused(file, line, f"type {kind_number} is not one of 1 to 7")
    kind = RowKind(kind_number)
    if direction not in (1, -1):
        raise TapeRefused(file, line, f"direction {direction} is neither 1 (buy) nor -1 (sell)")
    if kind in NAMES_AN_ORDER:
        if order_id < 0:
            raise TapeRefused(file, line, f"order id {order_id} is negative")
        if not 0 < size <= SIZE_MAX:
            raise TapeRefused(file, line, f"size {size} is not between 1 and {SIZE_MAX}")
        if not 0 < price <= PRICE_MAX:
            raise TapeRefused(file, line, f"price {price} is not between 1 and {PRICE_MAX}")
    return TapeRow(line, at_ns, kind, order_id, size, price, direction)


def _nanoseconds(text: str, file: str, line: int) -> int:
    """Rounded, a half to the even one: recorders write as many digits as their clock has."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise TapeRefused(file, line, f"time {text[:_SHOWN_CHARS_MAX]!r} is not a number of seconds after midnight")
    if len(match[1] or "") > _DECIMALS_MAX:
        raise TapeRefused(file, line, f"time {text[:_SHOWN_CHARS_MAX]} has more than {_DECIMALS_MAX} decimals")
    seconds = Decimal(text)
    if seconds > _DAY_S:
        raise TapeRefused(file, line, f"time {text[:_SHOWN_CHARS_MAX]} is after the end of the day ({_DAY_S} seconds)")
    return int(_EXACT.multiply(seconds, _NS_PER_S).to_integral_value(ROUND_HALF_EVEN))


def _integer(text: str, column: str, file: str, line: int) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise TapeRefused(file, line, f"{column} {text[:_SHOWN_CHARS_MAX]!r} is not a whole number")
    if len(text) > _DIGITS_MAX:
        raise TapeRefused(file, line, f"{column} {text[:_SHOWN_CHARS_MAX]} has more than {_DIGITS_MAX} characters")
    return int(text)
