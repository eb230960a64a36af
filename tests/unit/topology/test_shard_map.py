"""Where a user belongs: fixed for ever, pure, cheap, and refused when the map is not whole."""

import os
import time
import uuid
from array import array
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.topology.bucketing import BUCKET_COUNT, bucket_of
from infra.topology.cells import Cell, CellState
from infra.topology.errors import MapCorrupted, MapError, MapInvalid
from infra.topology.identifiers import CellId
from infra.topology.shard_map import ShardMap, build_map
from infra.topology.snapshot import decode_map, encode_map

LINEAGE = UUID("11111111-2222-4333-8444-555555555555")
CELLS = (Cell(CellId("cell-1"), api_urls=("http://a:1",)), Cell(CellId("cell-2"), CellState.CORDONED, 50))
users = st.uuids()


def a_map(pins: dict[UUID, str] | None = None, epoch: int = 7) -> ShardMap:
    buckets = {bucket: f"cell-{bucket % 2 + 1}" for bucket in range(0, BUCKET_COUNT, 2)}
    buckets.update({bucket: "cell-2" for bucket in range(1, 1000, 2)})
    return build_map(lineage=LINEAGE, epoch=epoch, cells=CELLS, buckets=buckets, pins=(pins or {}).items())


PLAIN = a_map()


def test_the_hash_is_fixed_for_ever() -> None:
    assert bucket_of(UUID("00000000-0000-4000-8000-000000000001")) == 2187


@given(users)
def test_a_bucket_is_in_range_and_the_owner_is_its_cell(user_id: UUID) -> None:
    shard_map = PLAIN
    bucket = bucket_of(user_id)
    assert 0 <= bucket < BUCKET_COUNT
    assert shard_map.locate(user_id) == shard_map.bucket_owner(bucket)


def test_buckets_are_used_evenly() -> None:
    counts = [0] * 16
    for _ in range(16_000):
        counts[bucket_of(uuid.uuid4()) >> 12] += 1
    assert min(counts) > 850
    assert max(counts) < 1150


def test_an_unassigned_bucket_is_nobodys() -> None:
    shard_map = build_map(lineage=LINEAGE, epoch=1, cells=CELLS, buckets={})
    assert shard_map.locate(uuid.uuid4()) is None
    assert shard_map.describe()["buckets_unassigned"] == BUCKET_COUNT


@given(st.dictionaries(users, st.sampled_from(["cell-1", "cell-2"]), max_size=50), st.lists(users, max_size=20))
def test_pins_win_and_touch_nobody_else(pins: dict[UUID, str], others: list[UUID]) -> None:
    shard_map, plain = a_map(pins), PLAIN
    for user_id, cell_id in pins.items():
        owner = shard_map.locate(user_id)
        assert owner is not None
        assert owner.cell_id == cell_id
    for user_id in set(others) - pins.keys():
        assert shard_map.locate(user_id) == plain.locate(user_id)
        assert not shard_map.is_pinned(user_id)
    assert dict(shard_map.pins()) == pins


def test_users_that_share_half_an_id_are_told_apart() -> None:
    pins = {UUID(int=(5 << 64) | low): f"cell-{low % 2 + 1}" for low in (0, 1, 2, 2**63, 2**64 - 1)}
    shard_map = decode_map(encode_map(a_map(pins)))
    assert dict(shard_map.pins()) == pins
    assert all(shard_map.locate(user).cell_id == cell for user, cell in pins.items())  # type: ignore[union-attr]


@given(st.dictionaries(users, st.sampled_from(["cell-1", "cell-2"]), max_size=30), st.integers(0, 2**63 - 1))
def test_a_snapshot_carries_everything(pins: dict[UUID, str], epoch: int) -> None:
    shard_map = a_map(pins, epoch)
    again = decode_map(encode_map(shard_map))
    assert (again.lineage, again.epoch, again.cells) == (LINEAGE, epoch, CELLS)
    assert again.owners == shard_map.owners
    assert dict(again.pins()) == pins


@given(st.integers(min_value=0), st.integers(0, 7))
def test_one_wrong_bit_anywhere_is_noticed(position: int, bit: int) -> None:
    document = bytearray(encode_map(a_map({UUID(int=1): "cell-1"})))
    document[position % len(document)] ^= 1 << bit
    with pytest.raises(MapError):
        decode_map(bytes(document))


@given(st.binary(max_size=300))
def test_noise_and_short_documents_are_corrupted(noise: bytes) -> None:
    whole = encode_map(PLAIN)
    for document in (noise, whole[: len(noise)], whole + noise if noise else b""):
        with pytest.raises(MapCorrupted):
            decode_map(document)


def test_maps_that_say_nonsense_are_invalid() -> None:
    good = a_map({UUID(int=1): "cell-1", UUID(int=2): "cell-2"})

    def changed(**parts: object) -> None:
        fields = {
            name: getattr(good, name)
            for name in ("lineage", "epoch", "cells", "owners", "pin_high", "pin_low", "pin_owners")
        }
        with pytest.raises(MapInvalid):
            ShardMap(**{**fields, **parts})

    changed(epoch=-1)
    changed(cells=CELLS[:1])
    changed(cells=(CELLS[0], CELLS[0]))
    changed(owners=array("H", [0]))
    changed(pin_owners=array("H", [0, 1]))
    changed(pin_owners=array("H", [1]))
    changed(pin_low=array("Q", [2, 1]))
    changed(pin_low=array("Q", [1, 1]))
    changed(pin_high=array("Q", [1, 0]))
    with pytest.raises(MapInvalid):
        build_map(lineage=LINEAGE, epoch=1, cells=CELLS, buckets={0: "cell-9"})
    with pytest.raises(MapInvalid):
        build_map(lineage=LINEAGE, epoch=1, cells=CELLS, buckets={BUCKET_COUNT: "cell-1"})


def test_cells_have_sensible_names_and_addresses() -> None:
    for name in ("", "Cell-1", "1cell", "a" * 32, "cell_1", "cell 1", "../x"):
        with pytest.raises(ValueError, match="cell id"):
            Cell(CellId(name))
    with pytest.raises(ValueError, match="URL"):
        Cell(CellId("cell-1"), api_urls=("ftp://x",))


def test_a_million_pins_load_in_a_second_and_cost_twenty_megabytes() -> None:
    count = 1_000_000
    highs = array("Q", sorted(array("Q", os.urandom(8 * count))))
    shard_map = ShardMap(
        lineage=a_map().lineage, epoch=a_map().epoch, cells=CELLS, owners=a_map().owners,
        pin_high=highs, pin_low=array("Q", os.urandom(8 * count)), pin_owners=array("H", [1]) * count,
    )  # fmt: skip
    document = encode_map(shard_map)
    began = time.process_time()
    loaded = decode_map(document)
    assert time.process_time() - began < 3.0  # a third of a second where nobody else works
    assert loaded.size_bytes < 25_000_000
    user_id, started = uuid.uuid4(), time.process_time()
    for _ in range(10_000):
        loaded.locate(user_id)
    assert (time.process_time() - started) / 10_000 < 20e-6  # a microsecond or two; the rest is a busy machine
