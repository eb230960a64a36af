"""What the whole shard map costs a router: lookups, loading, memory; 65,536 buckets and a million pins.

Each round is a process of its own, as a router that starts: it reads the snapshot from a file, checks it, and looks up
known users (one in two of them pinned) one at a time.
"""

import os
import random
import tempfile
import time
import uuid
from array import array
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import psutil

from infra.topology.bucketing import BUCKET_COUNT
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.ownership_epochs import OwnershipEpochs
from infra.topology.shard_map import build_map
from infra.topology.snapshot import decode_map, encode_map
from loadtests.measurement.conditions import conditions
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.quantiles import medians, percentile

CELLS: Final = 50
"""As many as a stack can have."""
LOOKUPS: Final = 200_000
"""Half of them pinned users; with more the percentiles do not move."""
SEED: Final = 20_261
"""Of users and pins: the same map in every run."""


def measure(say: Say, *, pins: int, rounds: int) -> tuple[dict[str, Any], Path]:
    where = conditions()
    drawn = random.Random(SEED)
    names = [f"cell-{number}" for number in range(1, CELLS + 1)]
    pinned = {uuid.UUID(int=drawn.getrandbits(128), version=4): drawn.choice(names) for _ in range(pins)}
    shard_map = build_map(
        lineage=uuid.UUID(int=drawn.getrandbits(128), version=4),
        epoch=1,
        cells=[Cell(CellId(name)) for name in names],
        buckets={bucket: names[bucket % CELLS] for bucket in range(BUCKET_COUNT)},
        pins=pinned.items(),
        ownership=OwnershipEpochs(array("Q", range(1, BUCKET_COUNT + 1)), array("Q", range(1, pins + 1))),
    )
    with tempfile.TemporaryDirectory(prefix="map-in-memory-") as folder:
        path = Path(folder) / "map"
        path.write_bytes(encode_map(shard_map))
        asked = Path(folder) / "users"
        known = drawn.sample(list(pinned), min(LOOKUPS // 2, pins))
        users = known + [uuid.UUID(int=drawn.getrandbits(128), version=4) for _ in range(LOOKUPS - len(known))]
        drawn.shuffle(users)
        asked.write_bytes(b"".join(user.bytes for user in users))
        measured: list[dict[str, float]] = []
        for number in range(rounds):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                measured.append(pool.submit(load_and_look_up, path, asked, pins).result())
            said = ", ".join(f"{name} {value:g}" for name, value in measured[-1].items())
            say(f"round {number + 1} of {rounds}: {said}")
    document = {
        "benchmark": "map_in_memory",
        "what": "one lookup at a time; goals: p99 <= 5 us, load < 1 s, memory < 200 MB with a million pins",
        "conditions": where,
        "settings": {"pins": pins, "cells": CELLS, "lookups": LOOKUPS, "rounds": rounds},
        "median": medians(measured),
        "rounds": measured,
    }
    return document, write_result("map_in_memory", document)


def load_and_look_up(path: Path, asked: Path, pins: int) -> dict[str, float]:
    """In a process that does nothing else. Raises MeasurementRefused for a map of other pins."""
    raw = asked.read_bytes()
    users = [uuid.UUID(bytes=raw[at : at + 16]) for at in range(0, len(raw), 16)]
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    began = time.perf_counter()
    shard_map = decode_map(path.read_bytes())
    load_s = time.perf_counter() - began
    held = process.memory_info().rss - before
    if shard_map.pin_count != pins:
        raise MeasurementRefused(f"{shard_map.pin_count} pins were loaded, not {pins}")
    taken: list[float] = []
    clock = time.perf_counter_ns
    for user_id in users:
        at = clock()
        cell = shard_map.locate(user_id)
        taken.append((clock() - at) / 1000)
        if cell is None:
            raise MeasurementRefused(f"{user_id} was not found")
    return {
        "lookup_p50_us": round(percentile(taken, 0.50), 3),
        "lookup_p99_us": round(percentile(taken, 0.99), 3),
        "load_s": round(load_s, 3),
        "map_mb": round(held / 2**20, 1),
        "process_mb": round(process.memory_info().rss / 2**20, 1),
    }
