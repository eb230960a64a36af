"""A delta gives exactly the map it was made for, or is refused."""

import os
import uuid
from array import array
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.topology.cells import Cell, CellState
from infra.topology.diff import apply_delta, decode_delta, diff_maps, encode_delta
from infra.topology.errors import DeltaDoesNotFit, MapCorrupted, MapError
from infra.topology.identifiers import CellId
from infra.topology.ownership_epochs import OwnershipEpochs
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


def owned(shard_map: ShardMap, since: int) -> ShardMap:
    """The same map with ownership epochs: `since` for each bucket and each pin."""
    epochs = OwnershipEpochs(array("Q", [since]) * len(shard_map.owners), array("Q", [since]) * shard_map.pin_count)
    fields = {
        name: getattr(shard_map, name)
        for name in ("lineage", "epoch", "cells", "owners", "pin_high", "pin_low", "pin_owners")
    }
    return ShardMap(**fields, ownership=epochs)


@settings(max_examples=30)
@given(pins, pins, buckets, buckets, st.integers(1, 3), st.integers(1, 3))
def test_a_delta_of_format_2_carries_ownership_epochs(
    before: dict[UUID, str], after: dict[UUID, str], had: dict[int, str], has: dict[int, str], then: int, now: int
) -> None:
    old, new = owned(a_map(3, before, had), then), owned(a_map(5, after, has), now)
    delta = diff_maps(old, new)
    if then != now:
        assert delta is None, "every bucket changed hands: a snapshot says it better"
        return
    assert delta is not None
    assert encode_map(apply_delta(old, decode_delta(encode_delta(delta)))) == encode_map(new)


def test_a_pin_that_changes_only_its_ownership_epoch_is_a_change() -> None:
    user = uuid.uuid4()
    old, new = owned(a_map(3, {user: "cell-1"}), 7), owned(a_map(4, {user: "cell-1"}), 7)
    assert new.ownership is not None
    new.ownership.pins[0] = 9
    delta = diff_maps(old, new)
    assert delta is not None
    assert (delta.pins, delta.ownership) == ({user: 1}, ({}, {user: 9}))
    applied = apply_delta(old, decode_delta(encode_delta(delta)))
    assert applied.ownership_epoch(user) == 9
    assert old.ownership_epoch(user) == 7


def test_maps_of_two_formats_have_no_delta() -> None:
    old, new = a_map(3, {}), a_map(4, {})
    assert diff_maps(old, owned(new, 4)) is None
    delta = diff_maps(old, new)
    assert delta is not None
    with pytest.raises(DeltaDoesNotFit, match="ownership epochs"):
        apply_delta(owned(old, 3), delta)
