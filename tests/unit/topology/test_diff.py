"""A delta gives exactly the map it was made for, or is refused."""

import os
import uuid
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.topology.cells import Cell, CellState
from infra.topology.diff import apply_delta, decode_delta, diff_maps, encode_delta
from infra.topology.errors import DeltaDoesNotFit, MapCorrupted, MapError
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap, build_map
from infra.topology.snapshot import VERSION_BYTES, encode_map, read_version

LINEAGE = UUID("11111111-2222-4333-8444-555555555555")
CELLS = tuple(Cell(CellId(f"cell-{number}"), api_urls=(f"http://c{number}:1",)) for number in (1, 2, 3))
owners = st.sampled_from(["cell-1", "cell-2", "cell-3"])
pins = st.dictionaries(st.uuids() | st.integers(0, 5).map(lambda low: UUID(int=1 << 64 | low)), owners, max_size=20)
buckets = st.dictionaries(st.integers(0, 65_535), owners, max_size=20)


def a_map(
    epoch: int, pinned: dict[UUID, str], owned: dict[int, str] | None = None, cells: tuple[Cell, ...] = CELLS
) -> ShardMap:
    return build_map(lineage=LINEAGE, epoch=epoch, cells=cells, buckets=owned or {}, pins=pinned.items())


@settings(max_examples=60)
@given(pins, pins, buckets, buckets)
def test_a_delta_leads_from_one_map_to_the_other(
    before: dict[UUID, str], after: dict[UUID, str], had: dict[int, str], has: dict[int, str]
) -> None:
    old, new = a_map(3, before, had), a_map(5, {**before, **after}, has)
    for first, second in ((old, new), (a_map(3, {**before, **after}, had), a_map(5, before, has))):
        delta = diff_maps(first, second)
        assert delta is not None
        assert encode_map(apply_delta(first, decode_delta(encode_delta(delta)))) == encode_map(second)


def test_only_the_map_it_was_made_for_is_changed() -> None:
    user, other = uuid.uuid4(), uuid.uuid4()
    delta = diff_maps(a_map(3, {}), a_map(4, {user: "cell-2"}))
    assert delta is not None
    assert delta.pins == {user: 2}
    for held in (a_map(2, {}), a_map(4, {}), a_map(3, {other: "cell-1"}), a_map(3, {}, {7: "cell-1"})):
        with pytest.raises(DeltaDoesNotFit):
            apply_delta(held, delta)
    with pytest.raises(DeltaDoesNotFit):
        apply_delta(a_map(3, {}, cells=CELLS[:2]), delta)
    # The directory travels along: a cell may be cordoned, or listen elsewhere, in the same step.
    moved = (CELLS[0], Cell(CellId("cell-2"), CellState.CORDONED, api_urls=("http://new:1",)), CELLS[2])
    cordoned = diff_maps(a_map(3, {}), a_map(4, {}, cells=moved))
    assert cordoned is not None
    assert apply_delta(a_map(3, {}), cordoned).cells == moved


def test_what_a_snapshot_says_better_has_no_delta() -> None:
    assert diff_maps(a_map(3, {}, cells=CELLS[:2]), a_map(4, {})) is None
    assert diff_maps(a_map(4, {}), a_map(4, {})) is None
    assert diff_maps(a_map(3, {}), a_map(4, {}, dict.fromkeys(range(20_000), "cell-1"))) is None


def test_the_first_bytes_of_a_snapshot_say_whose_and_how_old_it_is() -> None:
    assert read_version(encode_map(a_map(42, {}))[:VERSION_BYTES]) == (LINEAGE, 42)
    with pytest.raises(MapCorrupted):
        read_version(b"short")


def test_one_wrong_bit_is_refused() -> None:
    delta = diff_maps(a_map(3, {}), a_map(4, {uuid.uuid4(): "cell-2"}))
    assert delta is not None
    document = encode_delta(delta)
    for at in range(0, len(document), 7):
        damaged = bytearray(document)
        damaged[at] ^= 1
        with pytest.raises(MapError):
            decode_delta(bytes(damaged))
    with pytest.raises(MapCorrupted):
        decode_delta(document[:-1])


def test_one_move_among_many_pins_is_a_small_delta() -> None:
    many = {UUID(bytes=os.urandom(16)): "cell-1" for _ in range(50_000)}
    old = a_map(1, many)
    new = a_map(2, {**many, uuid.uuid4(): "cell-2"})
    delta = diff_maps(old, new)
    assert delta is not None
    document = encode_delta(delta)
    assert len(document) < 2_000
    applied = apply_delta(old, decode_delta(document))
    assert (applied.pin_count, applied.pin_high, applied.pin_low) == (50_001, new.pin_high, new.pin_low)
