"""How long a newcomer waits: two cells from installed binaries, one more cell, the demo; on a stack of its own.

The stack is new in every round and removed afterwards, whatever happened.
"""

import asyncio
import os
import secrets
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from loadtests.measurement.conditions import conditions
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.operator_view import OperatorView
from loadtests.quantiles import medians

COMMAND_S_MAX = 300.0
"""Of one command; the slowest takes half a minute here."""


async def measure(say: Say, *, rounds: int) -> tuple[dict[str, Any], Path]:
    where = conditions()
    measured = []
    for number in range(rounds):
        measured.append(await _round())
        say(
            f"round {number + 1} of {rounds}: "
            + ", ".join(f"{name} {value:.1f}" for name, value in measured[-1].items())
        )
    document = {
        "benchmark": "startup",
        "what": "seconds until each command was done, binaries installed, caches warm",
        "conditions": where,
        "settings": {"rounds": rounds, "cells": 2},
        "median": medians(measured),
        "rounds": measured,
    }
    return document, write_result("startup", document)


async def _round() -> dict[str, float]:
    stack = f"bench-{secrets.token_hex(3)}"
    view = OperatorView(stack)
    figures: dict[str, float] = {}
    try:
        figures["up_two_cells_s"] = await _timed(view, "up", "--cells", "2", "--wait")
        figures["idle_rss_mb"] = await _memory_mb(view)
        figures["demo_s"] = await _demo(stack)
        figures["third_cell_s"] = await _timed(view, "cells", "add", "--reason", "a benchmark")
        figures["up_again_s"] = await _timed(view, "up", "--cells", "3", "--wait")
        figures["down_s"] = await _timed(view, "down")
    finally:
        await view.run("down", "--delete-data", "--yes", codes=(0, 1, 2, 3), limit_s=COMMAND_S_MAX)
    return figures


async def _timed(view: OperatorView, *arguments: str) -> float:
    began = perf_counter()
    await view.run(*arguments, limit_s=COMMAND_S_MAX)
    return round(perf_counter() - began, 2)


async def _memory_mb(view: OperatorView) -> float:
    status = await view.json("status")
    return round(sum(int(process["rss_bytes"] or 0) for process in status["processes"]) / 1e6, 1)


async def _demo(stack: str) -> float:
    began = perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "ROUTER_URL"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests", "demo", "--stack", stack,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise MeasurementRefused(f"the demo failed: {out.decode()[-2000:]}")
    return round(perf_counter() - began, 2)
