"""Frames: cut right however the bytes arrive, and bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import BadFrame
from exchange.wire import Cancel, FrameReader, Submit, decode_message, encode_message, frame


@given(bodies=st.lists(st.binary(max_size=40), max_size=8), cut=st.integers(1, 13))
def test_frames_survive_any_cut(bodies: list[bytes], cut: int) -> None:
    stream = b"".join(map(frame, bodies))
    reader = FrameReader()
    seen = []
    for start in range(0, len(stream), cut):
        seen += reader.feed(stream[start : start + cut])
    assert seen == bodies


def test_a_frame_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFrame, match="exceeds"):
        FrameReader(bytes_max=10).feed((11).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"t":"nonsense"}',
        b'{"t":"ack"}',
        b'{"t":"ack","seq":"1"}',
        b'{"t":"ack","seq":-1}',
        b'{"t":"hello","session":"cell-1","received":1' + b"0" * 40 + b"}",
        b'{"t":"status","cl_ord_id":"' + b"x" * 129 + b'"}',
        b'{"t":"status","cl_ord_id":"\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_message_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_message(body)


def test_unknown_fields_are_passed_over_so_that_versions_can_meet() -> None:
    assert decode_message(b'{"t":"cancel","cl_ord_id":"a","account":"u","later":1}') == Cancel("a", "u")


def test_a_submit_comes_back_as_it_was() -> None:
    terms = Submit("a", "u", "AAPL", "sell", 1, 2, client_order_id="R-1")
    assert decode_message(encode_message(terms)) == terms
