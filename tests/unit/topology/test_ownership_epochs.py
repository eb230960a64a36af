"""Ownership epochs in a map: since when each owner is one; and the public keys in its directory."""

import json
import uuid
from array import array
from uuid import UUID

import pytest

from infra.topology.bucketing import BUCKET_COUNT, bucket_of
from infra.topology.cells import Cell
from infra.topology.errors import MapCorrupted, MapError, MapInvalid
from infra.topology.identifiers import CellId
from infra.topology.ownership_epochs import OwnershipEpochs
from infra.topology.shard_map import ShardMap, build_map
from infra.topology.snapshot import (
    MAGICS,
    VERSION_BYTES,
    decode_map,
    encode_map,
    read_directory,
    read_version,
    write_directory,
)

PINNED, OTHER = UUID(int=5), uuid.uuid4()


def a_map(ownership: OwnershipEpochs | None) -> ShardMap:
    return build_map(
        lineage=UUID(int=1),
        epoch=40,
        cells=(Cell(CellId("cell-1")),),
        buckets={bucket_of(OTHER): "cell-1"},
        pins=[(PINNED, "cell-1")],
        ownership=ownership,
    )


def epochs() -> OwnershipEpochs:
    buckets = array("Q", bytes(8 * BUCKET_COUNT))
    buckets[bucket_of(OTHER)] = 2**63
    return OwnershipEpochs(buckets, array("Q", [77]))


def test_the_pin_says_it_then_the_bucket_then_the_map() -> None:
    owned, plain = a_map(epochs()), a_map(None)
    assert (owned.ownership_epoch(PINNED), owned.ownership_epoch(OTHER)) == (77, 2**63)
    assert (plain.ownership_epoch(PINNED), plain.ownership_epoch(OTHER)) == (40, 40)
    assert owned.size_bytes - plain.size_bytes > 8 * BUCKET_COUNT


def test_both_formats_are_read_and_a_map_says_which_is_written() -> None:
    owned, plain = a_map(epochs()), a_map(None)
    document = encode_map(owned)
    assert document.startswith(MAGICS[2])
    read = decode_map(document)
    assert read.ownership == owned.ownership
    assert encode_map(read) == document
    assert (read.locate(PINNED), read.locate(OTHER)) == (owned.locate(PINNED), owned.locate(OTHER))
    assert read_version(document[:VERSION_BYTES]) == (owned.lineage, 40)
    assert encode_map(plain).startswith(MAGICS[1])
    assert decode_map(encode_map(plain)).ownership is None


KEYED = Cell(CellId("cell-1"), signing_keys=(("k1", "A" * 43), ("k2", "B" * 42 + "A")))


def test_the_directory_carries_public_keys_and_a_reader_passes_over_what_it_does_not_know() -> None:
    """Releases that wrote none, and those that will write more."""
    assert read_directory(write_directory((KEYED,))) == (KEYED,)
    (row,) = json.loads(write_directory((KEYED,)))
    del row["signing_keys"]
    (older,) = read_directory(json.dumps([row | {"of_a_later_release": 1}]).encode())
    assert (older.cell_id, older.signing_keys) == ("cell-1", ())


@pytest.mark.parametrize("keys", [[], "k1", {"k1": 7}, {"k1": "A" * 42}, {"k1": None}])
def test_keys_that_are_none_make_the_directory_invalid(keys: object) -> None:
    (row,) = json.loads(write_directory((KEYED,)))
    with pytest.raises(MapInvalid):
        read_directory(json.dumps([row | {"signing_keys": keys}]).encode())


def test_a_damaged_or_shortened_one_is_refused() -> None:
    document = encode_map(a_map(epochs()))
    for at in (0, 7, 8, 50, len(document) // 2, len(document) - 1):
        damaged = bytearray(document)
        damaged[at] ^= 1
        with pytest.raises(MapError):
            decode_map(bytes(damaged))
    with pytest.raises(MapCorrupted):
        decode_map(MAGICS[1] + document[8:])  # whole, and of another format than it says
    with pytest.raises(MapCorrupted):
        decode_map(document[:-8])


def test_one_for_each_bucket_and_pin() -> None:
    some = epochs()
    for wrong in (
        OwnershipEpochs(some.buckets[:-1], some.pins),
        OwnershipEpochs(some.buckets, array("Q")),
        OwnershipEpochs(some.buckets, array("Q", [0])),
    ):
        with pytest.raises(MapInvalid):
            a_map(wrong)
