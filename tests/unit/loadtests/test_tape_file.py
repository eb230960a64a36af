"""A tape that cannot be read is refused with file, line and cause."""

from pathlib import Path

import pytest

from loadtests.replay.tape_file import RowKind, TapeRefused, parse_tape, read_tape

GOOD = "34200.004241176,1,16113575,18,5853300,1"


def test_a_row_is_read_exactly() -> None:
    (row,) = parse_tape(GOOD + "\n", "tape.csv")
    assert (row.line, row.at_ns, row.kind) == (1, 34_200_004_241_176, RowKind.NEW)
    assert (row.order_id, row.size, row.price, row.direction) == (16113575, 18, 5853300, 1)


def test_windows_line_ends_and_a_missing_last_newline_are_fine() -> None:
    assert len(parse_tape(f"{GOOD}\r\n{GOOD}", "tape.csv")) == 2


def test_a_halt_may_carry_zeros_and_minus_one() -> None:
    (row,) = parse_tape("34200.5,7,0,0,-1,-1\n", "tape.csv")
    assert row.kind is RowKind.HALT


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("", "has nothing instead of 6 columns"),
        ("Time,Type,OrderID,Size,Price,Direction", "time 'Time' is not a number of seconds"),
        ("34200,1,2,3,4", "has 5 columns"),
        ("34200,1,2,3,4,1,0", "has 7 columns"),
        ("0x8598,1,2,3,4,1", "time '0x8598'"),
        (f"34200.{'1' * 61},1,2,3,4,1", "more than 60 decimals"),
        ("1e99,1,2,3,4,1", "time 1e99 is after the end of the day"),
        ("-1,1,2,3,4,1", "time '-1'"),
        ("86401,1,2,3,4,1", "after the end of the day"),
        ("34200.1,8,2,3,4,1", "type 8 is not one of 1 to 7"),
        ("34200.1,0,2,3,4,1", "type 0 is not one of 1 to 7"),
        ("34200.1,1,x,3,4,1", "order id 'x' is not a whole number"),
        ("34200.1,1,2,3.5,4,1", "size '3.5' is not a whole number"),
        ("34200.1,1,2, 3,4,1", "size ' 3' is not a whole number"),
        ("34200.1,1,2,0,4,1", "size 0 is not between"),
        ("34200.1,1,2,-5,4,1", "size -5 is not between"),
        ("34200.1,1,2,9999999999,4,1", "size 9999999999 is not between"),
        ("34200.1,1,2,99999999999999999999,4,1", "size 99999999999999999999 has more than 18 characters"),
        ("34200.1,1,2,3,0,1", "price 0 is not between"),
        ("34200.1,1,2,3,NaN,1", "price 'NaN' is not a whole number"),
        ("34200.1,1,2,3,4,0", "direction 0 is neither"),
        ("34200.1,1,-2,3,4,1", "order id -2 is negative"),
    ],
)
def test_a_bad_row_is_named(line: str, cause: str) -> None:
    with pytest.raises(TapeRefused) as refused:
        parse_tape(f"{GOOD}\n{line}\n{GOOD}\n", "tape.csv")
    assert refused.value.line == 2
    assert str(refused.value).startswith("tape.csv, line 2: ")
    assert cause in refused.value.cause


def test_time_never_runs_backwards() -> None:
    with pytest.raises(
        TapeRefused, match=r"line 2: time 34200\.004241175 is earlier than 34200\.\d+ of the line before"
    ):
        parse_tape(f"{GOOD}\n34200.004241175,1,2,3,4,1\n", "tape.csv")


def test_an_empty_file_is_no_tape() -> None:
    with pytest.raises(TapeRefused, match="is empty"):
        parse_tape("", "tape.csv")


def test_a_missing_file_and_bytes_outside_ascii_are_named(tmp_path: Path) -> None:
    with pytest.raises(TapeRefused, match=r"nowhere\.csv: cannot be read"):
        read_tape(tmp_path / "nowhere.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(GOOD.encode() + b"\n\xff\xfe\n")
    with pytest.raises(TapeRefused, match="line 2: not a text file"):
        read_tape(binary)
