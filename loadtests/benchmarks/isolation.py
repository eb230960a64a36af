"""What a sick cell costs the users of another one: their latency beside a cell that hangs, is slow, resets or says
garbage, against the same beside a healthy one.

One router on a core of its own; the cells only answer. In each round every health has its turn, so whatever else the
machine does falls on all alike; ratios are taken within a round. The neighbours' users must not see one failure: a
single one refuses the measurement.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, load_signing_ring
from infra.topology.shard_map import ShardMap
from infra.topology.snapshot import decode_map
from loadtests.measurement.conditions import conditions
from loadtests.measurement.open_loop import drive_paced
from loadtests.measurement.own_processes import await_port, free_port, running, running_router
from loadtests.measurement.raw_http import build_request
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.measurement.sick_cell import HEALTHS
from loadtests.quantiles import percentile

PER_S: Final = 1_000.0
"""Requests of the well cell's customers: far below what the router sustains on its core, so that only the sick cell
can slow them."""
CONNECTIONS: Final = 16
"""Theirs: each has one request at most, and sixteen milliseconds for it."""
SICK_CLIENTS: Final = 64
"""Who ask the sick cell: together more often than the well one is asked, if it answers."""
SICK_PAUSE_S: Final = 0.05  # of each client between two requests to the sick cell: 1,280 a second if it answers
SETTLE_S: Final = 1.5  # longer than a breaker is open
_ROUTER_CORE: Final = 0
"""The router has a processor of its own,"""
_LOAD_CORE: Final = 1
"""and so have customers and cells."""


@dataclass(frozen=True)
class Ground:
    url: str
    port: int
    shard_map: ShardMap
    signer: CustomerTokenSigner

    def token_in(self, cell: str) -> str:
        while True:
            user_id = uuid4()
            owner = self.shard_map.locate(user_id)
            if owner is not None and owner.cell_id == cell:
                return self.signer.sign(user_id, int(time.time()))


def measure(say: Say, *, seconds: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused."""
    where = conditions()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="router-isolation-")))
        ground = _prepare(stack, folder)
        os.sched_setaffinity(0, {_LOAD_CORE})
        try:
            asyncio.run(_beside(ground, "well", seconds))  # warms up
            measured: list[dict[str, dict[str, float]]] = []
            for number in range(rounds):
                measured.append({health: asyncio.run(_beside(ground, health, seconds)) for health in _turns(number)})
                say(f"round {number + 1} of {rounds}")
        finally:
            os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    document = {
        "benchmark": "isolation",
        "what": "latency of one cell's users while another cell is sick, against while it is well; none may fail",
        "conditions": where,
        "settings": {
            "seconds": seconds, "rounds": rounds, "per_s": PER_S, "connections": CONNECTIONS,
            "sick_clients": SICK_CLIENTS, "sick_pause_s": SICK_PAUSE_S,
        },
        "median": summary(measured),
        "rounds": measured,
    }  # fmt: skip
    return document, write_result("isolation", document)


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, and for each sickness the median of its ratios to `well` in the same round."""
    found: dict[str, dict[str, float]] = {}
    for health in HEALTHS:
        of = found[health] = {
            name: round(median(each[health][name] for each in rounds), 3) for name in ("p50_ms", "p99_ms")
        }
        if health != "well":
            for name in ("p50_ms", "p99_ms"):
                ratio = median(each[health][name] / each["well"][name] for each in rounds)
                of[f"{name.removesuffix('_ms')}_ratio"] = round(ratio, 3)
    return found


def _turns(number: int) -> list[str]:
    return list(HEALTHS if number % 2 == 0 else reversed(HEALTHS))


def _prepare(stack: ExitStack, folder: Path) -> Ground:
    """A cell whose users are measured, and one of each health beside it, in a process of their own."""
    neighbour, port = free_port(), free_port()
    beside = {f"cell-{health}": free_port() for health in HEALTHS}
    command = ["taskset", "-c", str(_LOAD_CORE), sys.executable, "-m", "loadtests.measurement.sick_cell"]
    stack.enter_context(running([*command, f"{neighbour}=well"], {}))
    stack.enter_context(running([*command, *(f"{at}={cell.removeprefix('cell-')}" for cell, at in beside.items())], {}))
    cells = {cell: f"http://127.0.0.1:{at}" for cell, at in {"cell-neighbour": neighbour, **beside}.items()}
    stack.enter_context(running_router(folder, port, cells, core=_ROUTER_CORE))
    for each in (neighbour, *beside.values(), port):
        await_port(each)
    return Ground(
        url=f"http://127.0.0.1:{port}",
        port=port,
        shard_map=decode_map((folder / "router.map").read_bytes()),
        signer=CustomerTokenSigner(load_signing_ring(folder / "keys" / CUSTOMER_SIGNING_FILE)),
    )


async def _beside(ground: Ground, health: str, seconds: int) -> dict[str, float]:
    """The neighbours at their pace, while others keep asking the cell of that health."""
    requests = [_read(ground, "cell-neighbour") for _ in range(CONNECTIONS)]
    answers: Counter[str] = Counter()
    sick = [
        asyncio.create_task(_ask_for_ever(ground.port, _read(ground, f"cell-{health}"), answers))
        for _ in range(SICK_CLIENTS)
    ]
    await asyncio.sleep(SETTLE_S)  # the sickness is there when the measurement begins
    try:
        result = await drive_paced(
            ground.url,
            lambda lane, _: requests[lane],
            connections=CONNECTIONS,
            seconds=seconds,
            wanted=200,
            per_s=PER_S,
        )
    finally:
        for task in sick:
            task.cancel()
        await asyncio.gather(*sick, return_exceptions=True)
    if set(result.statuses) != {200}:
        raise MeasurementRefused(f"beside {health}: {dict(result.statuses)}; the first: {result.first_bad}")
    if (health == "well") != (set(answers) == {"200"}) and health != "slow":
        raise MeasurementRefused(f"the cell was not {health}: {dict(answers)}")
    await asyncio.sleep(SETTLE_S)
    return {
        "per_s": round(result.per_second(200), 1),
        "p50_ms": round(percentile(result.latencies_s, 0.50) * 1000, 3),
        "p99_ms": round(percentile(result.latencies_s, 0.99) * 1000, 3),
        **{f"beside_{status}": count for status, count in sorted(answers.items())},
    }


def _read(ground: Ground, cell: str) -> bytes:
    headers = {"Authorization": f"Bearer {ground.token_in(cell)}"}
    return build_request("GET", f"{ground.url}/v1/account", headers)


async def _ask_for_ever(port: int, request: bytes, answers: Counter[str]) -> None:
    """A customer of the sick cell: asks, waits for whatever comes, and asks again."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while True:
                    writer.write(request)
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    at = head.index(b"content-length: ") + 16
                    await reader.readexactly(int(head[at : head.index(b"\r", at)]))
                    answers[head[9:12].decode()] += 1
                    await asyncio.sleep(SICK_PAUSE_S)
            finally:
                writer.close()
        await asyncio.sleep(SICK_PAUSE_S)
