"""Which server of a destination a user sticks to: rendezvous hashing (highest random weight). Pure.

Each pair of user and server has a weight, and the user goes to the heaviest server that is well. Every router and every
start computes the same. A server that comes or goes takes or leaves its own share of the users and moves nobody else,
so a bad release on one server of a canary cell meets that server's users and no others.
"""

from hashlib import blake2b
from typing import Final

_MASK: Final = (1 << 64) - 1
"""Arithmetic of 64 bits, as splitmix64 has it."""
_ODD: Final = 0x9E3779B97F4A7C15  # 2**64 / the golden ratio: the usual multiplier of Fibonacci hashing
_ODD_AGAIN: Final = 0xBF58476D1CE4E5B9  # the first multiplier of splitmix64's finalizer


def seed_of(name: str) -> int:
    """64 bits that stand for a server, the same in every process. Not Python's `hash`: that differs by process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def weigh(user: int, seed: int) -> int:
    """The weight of a server for a user, 64 bits. Two multiplications with a shift between, as splitmix64 ends: one
    alone carries a difference upwards only, so ids that differ in their first bits would be ordered alike."""
    mixed = (((user ^ user >> 64 ^ seed) & _MASK) * _ODD) & _MASK
    return ((mixed ^ mixed >> 29) * _ODD_AGAIN) & _MASK
