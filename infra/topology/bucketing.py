"""User -> bucket. Hash and count are fixed for ever: changing either would send money to the wrong cell."""

from hashlib import blake2b
from typing import Final
from uuid import UUID

from infra.topology.identifiers import BucketId

BUCKET_COUNT: Final = 65_536
"""Fixed for ever: another count gives every user another bucket. At 50 cells a bucket is a thousandth of one."""


def bucket_of(user_id: UUID) -> BucketId:
    """The first 8 bytes of BLAKE2b over the id, read big-endian, modulo 65,536: that is the last two bytes."""
    digest = blake2b(user_id.bytes, digest_size=8).digest()
    return BucketId(digest[6] << 8 | digest[7])
