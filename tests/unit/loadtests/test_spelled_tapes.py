"""A tape is its rows, not their spelling; and two readers that share no code read and refuse the same."""

import itertools
import random
from decimal import Decimal
from pathlib import Path

import pytest

from exchange.errors import TapeInvalid
from exchange.tape import Tape, parse_tape
from loadtests.replay.tape_file import TapeRefused, TapeRow, read_tape
from loadtests.replay.tape_file import parse_tape as parse_rows
from loadtests.replay.tape_plan import plan_tape
from tests.support.spelled_tape import SHAPES, plain_tape, spell_time, spelled

ROWS = 20_000
GOOD = "34200.5,1,11,100,1850000,1"


def read_file(folder: Path, content: bytes) -> list[TapeRow]:
    path = folder / "tape.csv"
    path.write_bytes(content)
    return read_tape(path)


def read_at_exchange(content: bytes) -> Tape:
    return parse_tape(content, symbol="AAPL", run="r", waits_for_replace=True)


def test_tens_of_thousands_of_rows_in_every_spelling_are_the_same_tape(tmp_path: Path) -> None:
    plain = plain_tape(7, ROWS)
    odd = spelled(plain, 8)
    assert len(odd.splitlines()) > ROWS
    rows = parse_rows(plain, "plain.csv")
    assert read_file(tmp_path, odd) == rows
    assert len({row.kind for row in rows}) == 7
    assert sum(one.at_ns == other.at_ns for one, other in itertools.pairwise(rows)) > ROWS / 20
    told, spelled_told = read_at_exchange(plain.encode()), read_at_exchange(odd)
    assert (spelled_told.orders, spelled_told.counts, spelled_told.rows) == (told.orders, told.counts, told.rows)
    assert len(plan_tape(rows, customers=3, file="tape.csv").orders) == len(told.orders)


def test_every_spelling_is_written_with_up_to_eighteen_decimals() -> None:
    chance = random.Random(1)
    seen = {spell_time(Decimal("34200.000000001"), chance) for _ in range(400)}
    assert len(seen) > len(SHAPES)
    decimals = {len(text.partition(".")[2]) for text in seen if "e" not in text.lower()}
    assert {9, 18} <= decimals


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("34200", 34_200_000_000_000),
        ("34200.", 34_200_000_000_000),
        ("3.42e4", 34_200_000_000_000),
        ("34200.123456789012", 34_200_123_456_789),
        (f"34200.123456789{'0' * 50}1", 34_200_123_456_789),
        ("34200.1234567895", 34_200_123_456_790),
        ("34200.1234567885", 34_200_123_456_788),  # a half goes to the even one
        ("34200.123456788500000001", 34_200_123_456_789),
        ("0.0000000004999", 0),
        ("00034200.5", 34_200_500_000_000),
        ("86400", 86_400_000_000_000),
    ],
)
def test_a_time_is_rounded_to_the_nanosecond(text: str, at_ns: int) -> None:
    (row,) = parse_rows(f"{text},1,11,100,1850000,1\n", "tape.csv")
    assert row.at_ns == at_ns
    assert read_at_exchange(f"{text},1,11,100,1850000,1\n".encode()).rows == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "nothing instead of 6 columns"),
        ("34200.5", "1 columns instead of 6"),
        ("34200.5,1,12,1,1850000,1,9", "7 columns"),
        ("noon,1,12,1,1850000,1", "time 'noon' is not a number"),
        ("34200.5s,1,12,1,1850000,1", "time '34200.5s' is not a number"),
        ("34200.5.1,1,12,1,1850000,1", "time '34200.5.1' is not a number"),
        ("1e999,1,12,1,1850000,1", "time '1e999' is not a number"),
        ("nan,1,12,1,1850000,1", "time 'nan' is not a number"),
        ("-1,1,12,1,1850000,1", "time '-1' is not a number"),
        ("86400.000000001,1,12,1,1850000,1", "time 86400.000000001 is after the end of the day"),
        ("34200.4999999990,1,12,1,1850000,1", "time 34200.4999999990 is earlier than 34200.5 of the line before"),
        ("34200.5,9,12,1,1850000,1", "type 9 is not one of 1 to 7"),
        ("34200.5,1.0,12,1,1850000,1", "type '1.0' is not a whole number"),
        ("34200.5,1,12,0,1850000,1", "size 0 is not between"),
        ("34200.5,1,12,1e3,1850000,1", "size '1e3' is not a whole number"),
        ("34200.5,1,12,1,-1850000,1", "price -1850000 is not between"),
        ("34200.5,1,12,1,1234567890123456789,1", "price 1234567890123456789 has more than 18"),
        ("34200.5,1,-12,1,1850000,1", "order id -12 is negative"),
        ("34200.5,1,12,1,1850000,2", "direction 2 is neither"),
        ("34200.5,1,12,1,1850000,+1", "direction '+1' is not a whole number"),
    ],
)
def test_both_readers_name_line_column_and_value(line: str, said: str) -> None:
    text = f"{GOOD}\n{line}\n{GOOD.replace(',11,', ',13,')}\n"
    with pytest.raises(TapeRefused, match="line 2") as of_file:
        parse_rows(text, "tape.csv")
    with pytest.raises(TapeInvalid, match="line 2") as at_exchange:
        read_at_exchange(text.encode())
    assert said in of_file.value.cause
    assert said in at_exchange.value.reason
