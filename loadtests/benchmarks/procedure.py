"""The place procedure alone: sixty-four commands in a call against one, and replays against first uses.

All of it by pgbench, so that no client of ours weighs on either side, on a PostgreSQL of its own. Batches and replays
use two connections, as many as a cell has calls in the air; one command per call is measured with two, and with the
32 connections at which it is fastest.
"""

from pathlib import Path
from typing import Any

from loadtests.measurement.conditions import conditions
from loadtests.measurement.own_cell import own_cell
from loadtests.measurement.own_market import BATCH, IN_FLIGHT, LIMIT_PX, SYMBOL, USERS, open_in
from loadtests.measurement.pgbench import CLIENTS, pgbench_version, place_script, run_script
from loadtests.measurement.queries import place_under_key, settle_tables
from loadtests.measurement.results import Say, write_result
from loadtests.quantiles import medians


async def measure(say: Say, *, seconds: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused, PgbenchFailed."""
    where = conditions()
    where["pgbench"] = await pgbench_version()
    measured: list[dict[str, float]] = []
    async with own_cell() as cell:
        users = await open_in(cell, USERS)

        def script(clients: int, batch: int, *, replays: bool = False) -> str:
            return place_script(users, clients=clients, batch=batch, symbol=SYMBOL, limit_px=LIMIT_PX, replays=replays)

        runs = {
            "one_per_call_32": (script(CLIENTS, 1), CLIENTS, 1),
            "one_per_call_2": (script(IN_FLIGHT, 1), IN_FLIGHT, 1),
            "batch_64": (script(IN_FLIGHT, BATCH), IN_FLIGHT, BATCH),
            "replay_64": (script(IN_FLIGHT, BATCH, replays=True), IN_FLIGHT, BATCH),
            "replay_one_32": (script(CLIENTS, 1, replays=True), CLIENTS, 1),
        }
        await place_under_key(cell.service_dsn, users, "again", SYMBOL, LIMIT_PX)
        await run_script(runs["batch_64"][0], cell.database, clients=IN_FLIGHT, seconds=2)
        await settle_tables(cell.superuser_dsn)
        for number in range(rounds):
            figures: dict[str, float] = {}
            for name, (text, clients, batch) in runs.items():
                ran = await run_script(text, cell.database, clients=clients, seconds=seconds)
                figures[f"{name}_per_s"] = round(ran.calls_per_s * batch, 1)
                figures[f"{name}_ms"] = ran.mean_ms
            figures["batch_to_one"] = round(figures["batch_64_per_s"] / figures["one_per_call_32_per_s"], 3)
            figures["replay_to_batch"] = round(figures["replay_64_per_s"] / figures["batch_64_per_s"], 3)
            figures["replay_to_one"] = round(figures["replay_one_32_per_s"] / figures["one_per_call_32_per_s"], 3)
            measured.append(figures)
            say(f"round {number + 1} of {rounds}: " + ", ".join(f"{key} {value:g}" for key, value in figures.items()))
    document = {
        "benchmark": "procedure",
        "what": "limit buys per second by place_orders_v1; peer: one command per call, 32 connections",
        "conditions": where,
        "settings": {"seconds": seconds, "rounds": rounds, "batch": BATCH, "in_flight": IN_FLIGHT, "users": USERS},
        "median": medians(measured),
        "rounds": measured,
    }
    return document, write_result("procedure", document)
