"""Frames are told apart however they are cut, and a close frame never lands inside one."""

from hypothesis import given
from hypothesis import strategies as st

from router.frames import SERVICE_RESTART, Direction, Frames, close_frame


def frame(payload: bytes, *, opcode: int = 1, mask: bytes = b"") -> bytes:
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        length = bytes([bit | size])
    elif size < 65_536:
        length = bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([bit | 127]) + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + length + mask + payload


FRAMES = st.builds(
    frame,
    st.one_of(st.binary(max_size=130), st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536])),
    opcode=st.sampled_from([0, 1, 2, 9, 10]),
    mask=st.sampled_from([b"", b"\x01\x02\x03\x04"]),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({min(cut, len(data)) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 400), max_size=12))
def test_however_frames_are_cut_their_ends_are_found(said: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(said)
    ends, at = {0}, 0
    for one in said:
        at += len(one)
        ends.add(at)
    frames, read = Frames(), 0
    for piece in pieces(whole, cuts):
        frames.feed(piece)
        read += len(piece)
        assert frames.between == (read in ends)
    assert not frames.closed


@given(st.lists(FRAMES, min_size=1, max_size=6), st.lists(st.integers(0, 400), max_size=12), st.integers(0, 12))
def test_a_close_frame_follows_whole_frames(said: list[bytes], cuts: list[int], after: int) -> None:
    direction, got = Direction(masked=False), b""
    for number, piece in enumerate(pieces(b"".join(said), cuts)):
        if number == after:
            got += direction.end(SERVICE_RESTART)
        got += direction.passed(piece)
    if after <= len(pieces(b"".join(said), cuts)) - 1:
        goodbye = close_frame(SERVICE_RESTART, masked=False)
        assert got.endswith(goodbye)
        runs = [b"".join(said[:count]) for count in range(len(said) + 1)]
        assert got[: -len(goodbye)] in runs
    else:
        assert got == b"".join(said)


def test_who_has_said_goodbye_himself_is_not_interrupted() -> None:
    direction = Direction(masked=True)
    assert direction.passed(close_frame(1000, masked=True)) == close_frame(1000, masked=True)
    assert direction.closed
    assert direction.end(SERVICE_RESTART) == b""


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_garbage_is_counted_like_anything_else(data: bytes, cuts: list[int]) -> None:
    whole, cut = Frames(), Frames()
    whole.feed(data)
    for piece in pieces(data, cuts):
        cut.feed(piece)
    assert (whole.between, whole.closed) == (cut.between, cut.closed)
