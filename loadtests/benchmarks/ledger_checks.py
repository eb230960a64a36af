"""How long it takes to prove the books of a cell with a million postings.

The books are those of a trading cell: four orders in ten are filled by the worker, as shipped, from a stub venue; the
others rest. The checks are asked for as `shardctl cells check` does, from an app server's operator port. A cell that
is not healthy refuses the result: then the books, or a check, are wrong.
"""

import time
from pathlib import Path
from typing import Any, Final

import aiohttp

from infra.security.keys import OPERATOR_SIGNING_FILE, load_signing_ring
from infra.security.operator_token import sign_operator_token
from infra.security.roles import Role
from loadtests.benchmarks.fills import fill_and_time, until_applied, until_sent
from loadtests.measurement.conditions import conditions
from loadtests.measurement.own_cell import AppServer, OwnCell, own_cell
from loadtests.measurement.own_market import BATCH, IN_FLIGHT, LIMIT_PX, PX_MICROS, SYMBOL, USERS, open_in
from loadtests.measurement.pgbench import place_script, run_script
from loadtests.measurement.queries import Counts, settle_tables
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.measurement.stub_venue import StubVenue
from loadtests.quantiles import medians

ORDERS_AT_ONCE: Final = 20_000
"""Placed, and then filled, before the next: the inbox stays short."""
FILLED_SHARE: Final = 0.4
"""Of the orders; the rest rest, so that holds are judged too."""
POSTINGS_PER_ORDER: Final = 2
"""A hold has two."""
POSTINGS_PER_FILL: Final = 4
CHECKS_S_MAX: Final = 600.0
"""Of all checks together; a million postings take seventeen here."""


async def measure(say: Say, *, postings: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused, PgbenchFailed."""
    where = conditions()
    measured: list[dict[str, float]] = []
    slowest: dict[str, float] = {}
    async with own_cell() as cell:
        await fill_books(cell, say, orders=int(postings / (POSTINGS_PER_ORDER + FILLED_SHARE * POSTINGS_PER_FILL)))
        await settle_tables(cell.superuser_dsn)
        counts = await Counts.connect(cell.superuser_dsn)
        stored = await counts.postings()
        await counts.close()
        say(f"{stored:,} postings")
        async with cell.app_server() as server:
            for number in range(rounds):
                began = time.perf_counter()
                result = await ask_for_checks(cell, server)
                all_s = time.perf_counter() - began
                measured.append({"all_s": round(all_s, 3), "postings_per_s": round(stored / all_s, 1)})
                slowest = {each["name"]: each["duration_ms"] for each in result["checks"]}
                say(f"round {number + 1} of {rounds}: {len(result['checks'])} checks in {all_s:.1f} s")
    document = {
        "benchmark": "ledger_checks",
        "what": "every ledger check of a cell, in one snapshot; goal: a million postings in less than 30 s",
        "conditions": where,
        "settings": {"postings": stored, "users": USERS, "filled_share": FILLED_SHARE, "rounds": rounds},
        "median": medians(measured),
        "rounds": measured,
        "last_round_ms_by_check": dict(sorted(slowest.items(), key=lambda each: -each[1])),
    }
    return document, write_result("ledger_checks", document)


async def fill_books(cell: OwnCell, say: Say, *, orders: int) -> None:
    """Orders by batches; the first part of each lot is filled before the next begins. Raises MeasurementRefused,
    PgbenchFailed."""
    users = await open_in(cell, USERS)
    script = place_script(users, clients=IN_FLIGHT, batch=BATCH, symbol=SYMBOL, limit_px=LIMIT_PX)
    await settle_tables(cell.superuser_dsn)
    venue = StubVenue({SYMBOL: PX_MICROS})
    counts = await Counts.connect(cell.superuser_dsn)
    placed = 0
    async with venue.listening() as port, cell.process("work", CELL_EXCHANGE__ADDRESS=f"127.0.0.1:{port}"):
        while placed < orders:
            venue.orders.clear()
            count = min(ORDERS_AT_ONCE, orders - placed)
            calls_each = max(1, count // BATCH // IN_FLIGHT)
            ran = await run_script(script, cell.database, clients=IN_FLIGHT, calls_each=calls_each)
            await until_sent(venue, ran.calls * BATCH)
            await until_applied(venue, counts)
            del venue.orders[int(len(venue.orders) * FILLED_SHARE) :]
            await fill_and_time(venue, counts)
            if placed == 0:
                await settle_tables(cell.superuser_dsn)
            placed += ran.calls * BATCH
            say(f"{placed:,} of {orders:,} orders")
    await counts.close()


async def ask_for_checks(cell: OwnCell, server: AppServer) -> dict[str, Any]:
    """Raises MeasurementRefused unless every check ran and found nothing."""
    ring = load_signing_ring(cell.folder / "keys" / OPERATOR_SIGNING_FILE)
    token = sign_operator_token(
        ring, subject="bench", role=Role.VIEWER, now_s=int(time.time()), lives_s=int(CHECKS_S_MAX)
    )
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECKS_S_MAX)) as session,
        session.post(
            f"{server.operator_url}/operator/v1/checks", headers={"Authorization": f"Bearer {token}"}
        ) as answer,
    ):
        if answer.status != 200:
            raise MeasurementRefused(f"the checks were answered by {answer.status}: {(await answer.text())[:500]}")
        result: dict[str, Any] = await answer.json()
    if not result["healthy"]:
        broken = [each["name"] for each in result["checks"] if each["violations"]]
        raise MeasurementRefused(f"the books are not healthy: {', '.join(broken)}")
    return result
