"""The load tests' command line: `python -m loadtests demo | replay | bench | generate-tape`.

Exit codes: 0 right, 1 a difference or a refusal, 2 usage, 3 not reachable.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from loadtests.benchmarks import (
    fills,
    growth,
    half_load,
    idle_connections,
    isolation,
    ledger_checks,
    map_in_memory,
    map_push,
    orders_per_second,
    procedure,
    risk_checks,
    router_latency,
    router_vs_haproxy,
    startup,
)
from loadtests.benchmarks.orders_per_second import MeasurementRefused
from loadtests.benchmarks.own_cell import OwnCellFailed
from loadtests.benchmarks.pgbench import PgbenchFailed
from loadtests.client import CustomerError, RouterSilent
from loadtests.demo import DemoSize, run_demo
from loadtests.demo_report import print_story
from loadtests.generated_tape import generate_tape
from loadtests.operator_view import OperatorRefused, OperatorView, router_address
from loadtests.progress_line import progress_line
from loadtests.raw_client import ConnectionBroken
from loadtests.replay import ReplayRefused, ReplayReport, ReplayRequest, read_plan, run_replay
from loadtests.replay_report import print_report, report_document
from loadtests.tape_file import TapeRefused
from loadtests.tape_plan import TapePlan

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Customers of the platform: demo, replay, benchmarks."
)

Router = Annotated[
    str | None, typer.Option("--router", help="Address of the router; else ROUTER_URL, else what shardctl says.")
]
Stack = Annotated[str | None, typer.Option("--stack", help="Name of the stack, as for shardctl.")]


@app.command()
def demo(
    router: Router = None,
    stack: Stack = None,
    customers: Annotated[int, typer.Option(min=2, max=5_000)] = 200,
    orders: Annotated[int, typer.Option(min=1, max=200_000)] = 3_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders.")] = 1,
) -> None:
    """Sign customers up over all cells, let them trade, prove the books."""
    console = Console()
    view = OperatorView(stack)
    size = DemoSize(customers=customers, orders=orders, seed=seed)

    async def run() -> bool:
        address = await router_address(router, view)
        with progress_line() as progress:
            story = await run_demo(address, view, size, progress)
        print_story(story, console)
        return not story.faults

    _exit(_run(run))


@app.command()
def replay(
    messages: Annotated[Path, typer.Option("--messages", help="A LOBSTER message file.")],
    symbol: Annotated[str, typer.Option("--symbol")],
    run: Annotated[str, typer.Option("--run", help="Name of this play; a name is played once.")],
    customers: Annotated[int, typer.Option(min=1, max=5_000)] = 8,
    speed: Annotated[float | None, typer.Option(help="Times the tape's own; left out: as fast as possible.")] = None,
    router: Router = None,
    stack: Stack = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Play a recorded tape through the router and reconcile the books with it."""
    request = ReplayRequest(messages, symbol, run, customers, speed)
    view = OperatorView(stack)

    async def play(plan: TapePlan) -> ReplayReport:
        address = await router_address(router, view)
        with progress_line() as progress:
            return await run_replay(request, plan, address, view, progress)

    async def read_and_play() -> ReplayReport:
        return await play(await asyncio.to_thread(read_plan, request))

    report = _run(read_and_play)
    if as_json:
        print(json.dumps(report_document(report), indent=2))
    else:
        print_report(report, Console())
    _exit(not report.differences)


@app.command("generate-tape")
def generate(
    seed: Annotated[int, typer.Option()] = 1,
    rows: Annotated[int, typer.Option(min=10, max=2_000_000)] = 400,
    partial_cancels: Annotated[bool, typer.Option("--partial-cancels")] = False,
) -> None:
    """Write a LOBSTER-like tape to standard output, where no recorded one is at hand."""
    sys.stdout.write(generate_tape(seed, rows=rows, partial_cancels=partial_cancels))


bench_app = typer.Typer(invoke_without_command=True, help="Measurements with their conditions, kept as JSON.")
app.add_typer(bench_app, name="bench")

Rounds = Annotated[int, typer.Option(min=1, max=50)]
Seconds = Annotated[int, typer.Option(min=1, max=600, help="Length of one measurement.")]


@bench_app.command("orders")
def bench_orders(
    router: Router = None,
    stack: Stack = None,
    cell: str = "cell-1",
    connections: Annotated[int, typer.Option(min=32, max=512)] = 64,
    customers: Annotated[int, typer.Option(min=32, max=5_000, help="They take turns on the connections.")] = 256,
    seconds: Seconds = 10,
    rounds: Rounds = 5,
) -> None:
    """Orders per second through router and cell, to the cell, and by pgbench."""
    view = OperatorView(stack)

    async def run() -> None:
        address = await router_address(router, view)
        document, path = await orders_per_second.measure(
            address,
            view,
            _say,
            cell=cell,
            connections=connections,
            customers=customers,
            seconds=seconds,
            rounds=rounds,
        )
        _print_result(document, path)

    _run(run)


@bench_app.command("router")
def bench_router(
    router: Router = None, stack: Stack = None, cell: str = "cell-1", seconds: Seconds = 5, rounds: Rounds = 5
) -> None:
    """What the router adds to a request."""
    view = OperatorView(stack)

    async def run() -> None:
        address = await router_address(router, view)
        document, path = await router_latency.measure(address, view, _say, cell=cell, seconds=seconds, rounds=rounds)
        _print_result(document, path)

    _run(run)


@bench_app.command("procedure")
def bench_procedure(seconds: Seconds = 3, rounds: Rounds = 5) -> None:
    """The place procedure alone, many commands in a call and one; replays; on a PostgreSQL of its own."""

    async def run() -> None:
        document, path = await procedure.measure(_say, seconds=seconds, rounds=rounds)
        _print_result(document, path)

    _run(run, own_cell=True)


@bench_app.command("growth")
def bench_growth(
    orders: Annotated[int, typer.Option(min=10_000, max=20_000_000)] = 2_000_000,
    slices: Annotated[int, typer.Option(min=2, max=100)] = 20,
    customers: Annotated[int, typer.Option(min=128, max=12_800, help="How many trade, all the time.")] = 1_280,
) -> None:
    """Placing and reading as a cell fills with orders, on a PostgreSQL of its own."""

    async def run() -> None:
        document, path = await growth.measure(_say, orders=orders, slices=slices, customers=customers)
        _print_result(document, path)

    _run(run, own_cell=True)


@bench_app.command("fills")
def bench_fills(
    count: Annotated[int, typer.Option("--fills", min=128, max=1_000_000)] = 20_000, rounds: Rounds = 5
) -> None:
    """Fills per second by one worker, from a venue's socket to the books, on a PostgreSQL of its own."""

    async def run() -> None:
        document, path = await fills.measure(_say, fills=count, rounds=rounds)
        _print_result(document, path)

    _run(run, own_cell=True)


@bench_app.command("risk-checks")
def bench_risk_checks(
    calls: Annotated[int, typer.Option(min=100, max=1_000_000, help="Of each kind of customer in a round.")] = 2_000,
    rounds: Rounds = 5,
) -> None:
    """What the risk checks of an order cost inside the procedure, on a PostgreSQL of its own."""

    async def run() -> None:
        document, path = await risk_checks.measure(_say, calls=calls, rounds=rounds)
        _print_result(document, path)

    _run(run, own_cell=True)


@bench_app.command("ledger-checks")
def bench_ledger_checks(
    postings: Annotated[int, typer.Option(min=10_000, max=20_000_000)] = 1_000_000, rounds: Rounds = 3
) -> None:
    """Proving the books of a cell with a million postings, on a PostgreSQL of its own."""

    async def run() -> None:
        document, path = await ledger_checks.measure(_say, postings=postings, rounds=rounds)
        _print_result(document, path)

    _run(run, own_cell=True)


@bench_app.command("half-load")
def bench_half_load(
    router: Router = None, stack: Stack = None, cell: str = "cell-1", seconds: Seconds = 8, rounds: Rounds = 5
) -> None:
    """What the router adds at half of the load that it and the cell can take."""
    view = OperatorView(stack)

    async def run() -> None:
        address = await router_address(router, view)
        document, path = await half_load.measure(address, view, _say, cell=cell, seconds=seconds, rounds=rounds)
        _print_result(document, path)

    _run(run)


@bench_app.command("haproxy")
def bench_haproxy(seconds: Seconds = 4, rounds: Rounds = 7) -> None:
    """The router beside HAProxy with JWT check and map lookup; needs `apt-get install haproxy wrk`, and no stack."""
    try:
        document, path = router_vs_haproxy.measure(_say, seconds=seconds, rounds=rounds)
    except MeasurementRefused as error:
        _fail(str(error), 1)
    _print_result(document, path)


@bench_app.command("isolation")
def bench_isolation(seconds: Seconds = 4, rounds: Rounds = 5) -> None:
    """One cell's users while another cell hangs, is slow, resets or says garbage; needs no stack."""
    try:
        document, path = isolation.measure(_say, seconds=seconds, rounds=rounds)
    except (MeasurementRefused, ConnectionBroken) as error:
        _fail(str(error), 1)
    _print_result(document, path)


@bench_app.command("map")
def bench_map(pins: Annotated[int, typer.Option(min=0, max=10_000_000)] = 1_000_000, rounds: Rounds = 5) -> None:
    """The whole shard map in one process: lookups, loading, memory; needs no stack."""
    document, path = map_in_memory.measure(_say, pins=pins, rounds=rounds)
    _print_result(document, path)


@bench_app.command("map-push")
def bench_map_push(
    stack: Stack = None, cell: str = "cell-1", flips: Annotated[int, typer.Option(min=2, max=1_000)] = 40
) -> None:
    """How soon every router of a running stack holds a change of the map."""

    async def run() -> None:
        document, path = await map_push.measure(OperatorView(stack), _say, cell=cell, flips=flips)
        _print_result(document, path)

    _run(run)


@bench_app.command("idle")
def bench_idle(clients: Annotated[int, typer.Option(min=100, max=15_000)] = 10_000, rounds: Rounds = 3) -> None:
    """What idle keep-alive clients cost a router in memory; needs no stack."""
    try:
        document, path = idle_connections.measure(_say, clients=clients, rounds=rounds)
    except MeasurementRefused as error:
        _fail(str(error), 1)
    _print_result(document, path)


@bench_app.command("startup")
def bench_startup(rounds: Rounds = 3) -> None:
    """Time of up, cells add and demo, on stacks of its own."""

    async def run() -> None:
        document, path = await startup.measure(_say, rounds=rounds)
        _print_result(document, path)

    _run(run)


@bench_app.callback()
def bench_all(context: typer.Context) -> None:
    """Without a command: all of them, on the running stack; start-up on stacks of its own."""
    if context.invoked_subcommand is None:
        bench_orders()
        bench_router()
        bench_startup()


def _say(words: str) -> None:
    Console(stderr=True).print(words, markup=False, highlight=False, soft_wrap=True)


def _print_result(document: dict[str, Any], path: Path) -> None:
    print(json.dumps({"median": document["median"], "file": str(path)}, indent=2))


def _run(work: Callable[[], Coroutine[Any, Any, T]], *, own_cell: bool = False) -> T:
    """Run to the end, or say in one line why not. uvloop cannot start a server as another user, asyncio can."""
    try:
        return asyncio.run(work()) if own_cell else uvloop.run(work())
    except RouterSilent as error:
        _fail(str(error), 3)
    except (
        TapeRefused,
        ReplayRefused,
        CustomerError,
        MeasurementRefused,
        PgbenchFailed,
        ConnectionBroken,
        OwnCellFailed,
    ) as error:
        _fail(str(error), 1)
    except OperatorRefused as error:
        _fail(str(error), error.code if error.code in (1, 2, 3, 4) else 3)


def _fail(words: str, code: int) -> NoReturn:
    Console(stderr=True).print(words, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _exit(right: bool) -> None:
    raise typer.Exit(0 if right else 1)


if __name__ == "__main__":
    app()
