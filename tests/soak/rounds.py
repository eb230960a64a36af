"""What a soak runs, and what of it is left. Pure."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

CASES: Final = (
    "tests/drills/test_backup_kills.py",
    "tests/drills/test_market_day.py",
    "tests/drills/test_books_state_machine.py",
    "tests/drills/test_control_kills.py",
    "tests/drills/test_exchange_kills.py",
    "tests/drills/test_relay_crashes.py",
    "tests/drills/test_routers.py",
    "tests/faults",
)
"""Drills whose moments, orders or examples are drawn: another seed tries something else. And those that are too long
for every change."""


@dataclass(frozen=True, slots=True)
class Run:
    """One case in one round. `seed`: of everything that is drawn in it."""

    round: int
    case: str
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """A line of the results; `outcome` is pytest's exit code, 0 for passed."""

    commit: str
    soak: int
    round: int
    case: str
    seed: int
    outcome: int
    seconds: float
    at: str


def plan(soak: int, rounds: int) -> Iterator[Run]:
    """Every run of a soak with this seed, in order: the same ones however often it is asked."""
    for number in range(1, rounds + 1):
        for case in CASES:
            # 30 bits: Hypothesis and pytest's order take any whole number, and a person can type it again
            yield Run(number, case, random.Random(f"{soak}:{number}:{case}").getrandbits(30))


def remaining(runs: Iterable[Run], results: Iterable[Result], commit: str, soak: int) -> list[Run]:
    """Those that have not ended on this commit yet. One that failed has ended: its line says with which seed."""
    ended = {(result.round, result.case) for result in results if (result.commit, result.soak) == (commit, soak)}
    return [run for run in runs if (run.round, run.case) not in ended]
