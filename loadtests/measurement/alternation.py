"""The same load to several servers in short turns, at a fixed rate: what one of them adds to another.

At a fixed rate a request has its own time, whether or not the one before was quick, so a stall counts for everybody
who waits behind it. Turns are half a second long, and who begins changes with each: orders go on to the market
after their answer, so in longer turns each target would pay for what another had begun.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import psutil

from loadtests.measurement.load_result import RequestOf, checked, latency_figures
from loadtests.measurement.open_loop import paced
from loadtests.measurement.own_processes import cpu_s

TURN_S: Final = 0.5
"""Of one target before the next has its turn; the module says why no longer."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and what."""

    name: str
    url: str
    request_of: RequestOf
    pid: int | None = None
    """Of the process whose processor time a request is charged with, if that is wanted."""


async def alternate(
    targets: Sequence[Target], *, per_s: float, seconds: float, connections: int, wanted: int
) -> dict[str, float]:
    """Latencies in milliseconds by target, each asked for `seconds`; microseconds of processor time for a request, of
    targets with a pid; how busy the machine was, 0 to 1; and what each target adds to the last one.

    Raises MeasurementRefused if an answer was not the wanted one.
    """
    figures: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                paced(target.url, target.request_of, connections=connections, wanted=wanted)
            )
            for target in targets
        ]
        used_s = {target.name: -cpu_s(target.pid) for target in targets if target.pid is not None}
        before = psutil.cpu_times()
        for number in range(round(seconds / TURN_S)):
            for client in clients if number % 2 == 0 else reversed(clients):
                await client.drive(per_s=per_s, seconds=TURN_S)
        figures["machine_busy"] = busy_share(before, psutil.cpu_times())
        for target in targets:
            if target.pid is not None:
                used_s[target.name] += cpu_s(target.pid)
    for target, client in zip(targets, clients, strict=True):
        result = checked(client.result, wanted)
        figures |= latency_figures(target.name, result, wanted)
        if target.name in used_s:
            figures[f"{target.name}_cpu_us"] = round(used_s[target.name] * 1e6 / result.statuses[wanted], 1)
    *others, bare = targets
    for target in others:
        for label in ("p50", "p99"):
            added = figures[f"{target.name}_{label}_ms"] - figures[f"{bare.name}_{label}_ms"]
            figures[f"{target.name}_added_{label}_ms"] = round(added, 3)
    return figures


def busy_share(before: Any, after: Any) -> float:
    """Share of the machine's processor time that was used, 0 to 1."""
    spent = {name: float(getattr(after, name) - getattr(before, name)) for name in after._fields}
    idle = spent["idle"] + spent.get("iowait", 0.0)
    guests = spent.get("guest", 0.0) + spent.get("guest_nice", 0.0)  # counted in `user` and `nice` already
    return round(1 - idle / (sum(spent.values()) - guests), 3)
