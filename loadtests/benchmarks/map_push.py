"""How soon every router of a stack holds a change of the shard map.

The operators' own way: `shardctl cells cordon` and `uncordon` in turn, each one epoch. Time runs from inside the
transaction that makes the epoch (so with its commit, the snapshot to Redis and the notice) to the moment at which the
router took it, both by this machine's clock. At the end the cell is open.
"""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from loadtests.measurement.conditions import conditions
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.operator_view import OperatorView
from loadtests.quantiles import percentile

WAIT_S_MAX: Final = 10.0
"""Twice the poll by which a router learns of a map that no push brought."""
POLL_S: Final = 0.05
"""Between two looks at the routers; they say themselves when they took the map."""
REASON: Final = "measuring how fast the map travels"


async def measure(view: OperatorView, say: Say, *, cell: str, flips: int) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused if a change changed nothing; the cell is open again in any case."""
    where = conditions()
    routers = len(await view.json("routers", "list"))
    taken_ms: list[float] = []
    try:
        for number in range(flips):
            verb = "cordon" if number % 2 == 0 else "uncordon"
            change = await view.json("cells", verb, cell, "--reason", REASON)
            if not change["changed"] or not change["published"]:
                raise MeasurementRefused(f"`cells {verb}` changed or published nothing: {change}")
            taken_ms += await until_taken(view, int(change["epoch"]))
            if (number + 1) % 10 == 0:
                say(f"{number + 1} of {flips}: p50 {percentile(taken_ms, 0.5):.1f} ms, longest {max(taken_ms):.1f} ms")
    finally:
        await view.json("cells", "uncordon", cell, "--reason", REASON)
    document = {
        "benchmark": "map_push",
        "what": "ms from the transaction of an epoch to each router holding it; goal: p99 < 100 ms",
        "conditions": where,
        "settings": {"flips": flips, "routers": routers},
        "median": {
            "p50_ms": round(percentile(taken_ms, 0.50), 2),
            "p99_ms": round(percentile(taken_ms, 0.99), 2),
            "longest_ms": round(max(taken_ms), 2),
        },
        "rounds": [round(each, 2) for each in taken_ms],
    }
    return document, write_result("map_push", document)


async def until_taken(view: OperatorView, epoch: int) -> list[float]:
    """Milliseconds for each router. Raises MeasurementRefused if one has another map for too long."""
    (made,) = (await view.json("map", "show", "--history", "1"))["history"]
    if made["epoch"] != epoch:
        raise MeasurementRefused("somebody else changes the map")
    made_at = datetime.fromisoformat(made["made_at"])
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            rows = await view.json("routers", "list")
            if all(row["map_epoch"] == epoch for row in rows):
                return [(datetime.fromisoformat(row["map_taken_at"]) - made_at).total_seconds() * 1000 for row in rows]
            await asyncio.sleep(POLL_S)
