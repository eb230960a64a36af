"""The same load to several servers in short turns, at a fixed rate: what one of them adds to another.

At a fixed rate a request has its own time, whether or not the one before was quick, so a stall counts for everybody
who waits behind it. Turns are half a second long, and who begins changes with each: in longer turns each way would pay
for journeys that another, or nobody, had begun, and the figures drift by more than what is looked for.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import psutil

from loadtests.measurement.load_result import RequestOf, checked, told
from loadtests.measurement.open_loop import paced
from loadtests.measurement.own_processes import cpu_s

TURN_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Way:
    """Whom to ask, and what."""

    name: str
    url: str
    request_of: RequestOf
    pid: int | None = None
    """Of the process whose processor time a request is charged with, if that is wanted."""


async def take_turns(
    ways: Sequence[Way], *, per_s: float, seconds: float, connections: int, wanted: int
) -> dict[str, float]:
    """Latencies in milliseconds by way, each asked for `seconds`; microseconds of processor time for a request, of the
    ways with a pid; how busy the machine was, 0 to 1; and what each way adds to the last one."""
    figures: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(paced(way.url, way.request_of, connections=connections, wanted=wanted))
            for way in ways
        ]
        used_s = {way.name: -cpu_s(way.pid) for way in ways if way.pid is not None}
        before = psutil.cpu_times()
        for number in range(round(seconds / TURN_S)):
            for client in clients if number % 2 == 0 else reversed(clients):
                await client.drive(per_s=per_s, seconds=TURN_S)
        figures["machine_busy"] = busy_share(before, psutil.cpu_times())
        for way in ways:
            if way.pid is not None:
                used_s[way.name] += cpu_s(way.pid)
    for way, client in zip(ways, clients, strict=True):
        result = checked(client.result, wanted)
        figures |= told(way.name, result, wanted)
        if way.name in used_s:
            figures[f"{way.name}_cpu_us"] = round(used_s[way.name] * 1e6 / result.statuses[wanted], 1)
    *others, bare = ways
    for way in others:
        for label in ("p50", "p99"):
            added = figures[f"{way.name}_{label}_ms"] - figures[f"{bare.name}_{label}_ms"]
            figures[f"{way.name}_added_{label}_ms"] = round(added, 3)
    return figures


def busy_share(before: Any, after: Any) -> float:
    """Share of the machine's processor time that was used, 0 to 1."""
    spent = {name: float(getattr(after, name) - getattr(before, name)) for name in after._fields}
    idle = spent["idle"] + spent.get("iowait", 0.0)
    guests = spent.get("guest", 0.0) + spent.get("guest_nice", 0.0)  # counted in `user` and `nice` already
    return round(1 - idle / (sum(spent.values()) - guests), 3)
