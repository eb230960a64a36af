"""What of a report reaches the inbox."""

from datetime import date
from uuid import UUID

import msgspec
import pytest

from cell.executions.report import read_report
from cell.executions.settlement import settlement_date
from cell.executions.wire import Report, cut_frames, encode_frame

ORDER = UUID(int=7)


def test_a_report_is_kept_byte_for_byte() -> None:
    body = b'{"t":"report","seq":3,"kind":"fill","cl_ord_id":"' + str(ORDER).encode() + b'","said":"more"}'
    read = read_report(msgspec.json.decode(body, type=Report), body)
    assert (read.seq, read.kind, read.order_id, read.body) == (3, "fill", ORDER, body.decode())


def test_a_status_answer_counts_as_an_acknowledgement() -> None:
    body = b'{"t":"report","seq":3,"kind":"status","cl_ord_id":"' + str(ORDER).encode() + b'","cum_qty":5}'
    read = read_report(msgspec.json.decode(body, type=Report), body)
    assert read.kind == "accepted"
    assert msgspec.json.decode(read.body)["kind"] == "accepted"
    assert msgspec.json.decode(read.body)["cum_qty"] == 5


def test_a_name_that_is_no_order_of_ours_names_none() -> None:
    assert read_report(Report(1, "fill", "ORDER-1"), b"{}").order_id is None


@pytest.mark.parametrize(
    ("traded_on", "settles_on"),
    [
        (date(2026, 11, 18), date(2026, 11, 19)),
        (date(2026, 11, 20), date(2026, 11, 23)),
        (date(2026, 11, 21), date(2026, 11, 23)),
        (date(2026, 11, 22), date(2026, 11, 23)),
    ],
)
def test_a_trade_settles_on_the_next_business_day(traded_on: date, settles_on: date) -> None:
    assert settlement_date(traded_on) == settles_on


def test_frames_are_cut_however_they_arrive() -> None:
    whole = encode_frame(Report(1, "fill", "a")) + encode_frame(Report(2, "fill", "b"))  # type: ignore[arg-type]
    held = bytearray()
    bodies = []
    for byte in whole:
        held.append(byte)
        bodies += cut_frames(held)
    assert [msgspec.json.decode(body)["seq"] for body in bodies] == [1, 2]
    assert not held
