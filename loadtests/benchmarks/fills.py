"""How many fills a second one worker, as shipped, takes from its venue into the books.

Orders of many customers are placed, sent and acknowledged first. Then the venue (a stub, so that its own work is not
measured) tells one whole fill of each as fast as the worker takes them, and the clock runs until the inbox is empty:
committed, acknowledged, applied. A run in which a fill is missing in the books is refused.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from loadtests.measurement.conditions import conditions
from loadtests.measurement.own_cell import own_cell
from loadtests.measurement.own_market import BATCH, IN_FLIGHT, LIMIT_PX, PX_MICROS, SYMBOL, USERS, open_in
from loadtests.measurement.pgbench import place_script, run_script
from loadtests.measurement.queries import Counts, settle_tables
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.measurement.stub_venue import StubVenue
from loadtests.quantiles import medians

WAIT_S_MAX: Final = 180.0
"""A hundred times what a round takes on a quiet machine: who waits longer waits for something that has stopped."""
POLL_S: Final = 0.02
"""Seconds; a round takes some, so it is at most a hundredth wrong."""


async def measure(say: Say, *, fills: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused, PgbenchFailed."""
    where = conditions()
    measured: list[dict[str, float]] = []
    venue = StubVenue({SYMBOL: PX_MICROS})
    async with own_cell() as cell, venue.listening() as port:
        users = await open_in(cell, USERS)
        script = place_script(users, clients=IN_FLIGHT, batch=BATCH, symbol=SYMBOL, limit_px=LIMIT_PX)
        counts = await Counts.connect(cell.superuser_dsn)
        async with cell.process("work", CELL_EXCHANGE__ADDRESS=f"127.0.0.1:{port}") as worker_pid:
            for number in range(rounds + 1):  # the first round warms up and is not kept
                venue.orders.clear()
                ran = await run_script(
                    script, cell.database, clients=IN_FLIGHT, calls_each=max(1, fills // BATCH // IN_FLIGHT)
                )
                await until_sent(venue, ran.calls * BATCH)
                await until_applied(venue, counts)
                await settle_tables(cell.superuser_dsn)
                worker_s, server_s = process_cpu_s(worker_pid), cell.server_cpu_s()
                figures = await fill_and_time(venue, counts)
                figures["worker_cpu_us"] = round((process_cpu_s(worker_pid) - worker_s) * 1e6 / len(venue.orders), 1)
                figures["server_cpu_us"] = round((cell.server_cpu_s() - server_s) * 1e6 / len(venue.orders), 1)
                if number:
                    measured.append(figures)
                said = ", ".join(f"{name} {value:g}" for name, value in figures.items())
                say(f"round {number} of {rounds}: {said}" if number else f"warmed up: {said}")
        await counts.close()
    document = {
        "benchmark": "fills",
        "what": "fills per second from the venue's socket to the books, one worker; peer: committed to the inbox only",
        "conditions": where,
        "settings": {"fills": fills, "rounds": rounds, "users": USERS},
        "median": medians(measured),
        "rounds": measured,
    }
    return document, write_result("fills", document)


async def fill_and_time(venue: StubVenue, counts: Counts) -> dict[str, float]:
    """All open orders at once; how fast they were committed and applied. Raises MeasurementRefused."""
    before = (await counts.read())[1]
    began = time.perf_counter()
    sending = asyncio.create_task(venue.fill_all(PX_MICROS - 5_000_000))
    expected = len(venue.orders)
    last_seq = venue.sent_seq + expected
    await until(lambda: venue.acknowledged_seq >= last_seq, "the worker has not committed every report")
    committed_s = time.perf_counter() - began
    await sending
    await until_applied(venue, counts)
    applied_s = time.perf_counter() - began
    stored = (await counts.read())[1] - before
    if stored != expected:
        raise MeasurementRefused(f"{expected} fills were sent, {stored} are in the books")
    return {
        "fills_per_s": round(expected / applied_s, 1),
        "committed_per_s": round(expected / committed_s, 1),
        "fills_to_committed": round(committed_s / applied_s, 3),
    }


def process_cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def until_sent(venue: StubVenue, orders: int) -> None:
    """Raises MeasurementRefused."""
    await until(lambda: len(venue.orders) >= orders, "the worker has not sent every order")


async def until_applied(venue: StubVenue, counts: Counts) -> None:
    """Raises MeasurementRefused after `WAIT_S_MAX`."""
    await until(lambda: venue.acknowledged_seq >= venue.sent_seq, "the worker has not committed every report")
    deadline = time.perf_counter() + WAIT_S_MAX
    while await counts.reports_waiting():
        if time.perf_counter() > deadline:
            raise MeasurementRefused("the inbox does not become empty")
        await asyncio.sleep(POLL_S)


async def until(is_so: Callable[[], bool], otherwise: str) -> None:
    """Raises MeasurementRefused with these words after `WAIT_S_MAX`."""
    deadline = time.perf_counter() + WAIT_S_MAX
    while not is_so():
        if time.perf_counter() > deadline:
            raise MeasurementRefused(otherwise)
        await asyncio.sleep(POLL_S)
