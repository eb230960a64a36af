"""`python -m loadtests bench ...`: every measurement, each kept as JSON with its conditions."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from loadtests.benchmarks import (
    before_a_cell,
    beside,
    fills,
    growth,
    half_load,
    idle_connections,
    isolation,
    ledger_checks,
    map_in_memory,
    map_push,
    noisy_neighbour,
    orders_per_second,
    procedure,
    risk_checks,
    router_latency,
    router_vs_haproxy,
    startup,
)
from loadtests.commands.ending import failures_to_exit_codes, run_to_end
from loadtests.commands.options import Router, Stack
from loadtests.operator_view import OperatorView, router_address

app = typer.Typer(invoke_without_command=True, help="Measurements with their conditions, kept as JSON.")
Result = tuple[dict[str, Any], Path]
Rounds = Annotated[int, typer.Option(min=1, max=50)]
Seconds = Annotated[int, typer.Option(min=1, max=600, help="Length of one measurement.")]


@app.command("orders")
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

    async def measure() -> Result:
        address = await router_address(router, view)
        return await orders_per_second.measure(
            address,
            view,
            say,
            cell=cell,
            connections=connections,
            customers=customers,
            seconds=seconds,
            rounds=rounds,
        )

    _print_result(run_to_end(measure))


@app.command("router")
def bench_router(
    router: Router = None, stack: Stack = None, cell: str = "cell-1", seconds: Seconds = 5, rounds: Rounds = 5
) -> None:
    """What the router adds to a request."""
    view = OperatorView(stack)

    async def measure() -> Result:
        address = await router_address(router, view)
        return await router_latency.measure(address, view, say, cell=cell, seconds=seconds, rounds=rounds)

    _print_result(run_to_end(measure))


@app.command("procedure")
def bench_procedure(seconds: Seconds = 3, rounds: Rounds = 5) -> None:
    """The place procedure alone, many commands in a call and one; replays; on a PostgreSQL of its own."""
    _print_result(run_to_end(lambda: procedure.measure(say, seconds=seconds, rounds=rounds), own_cell=True))


@app.command("growth")
def bench_growth(
    orders: Annotated[int, typer.Option(min=10_000, max=20_000_000)] = 2_000_000,
    slices: Annotated[int, typer.Option(min=2, max=100)] = 20,
    customers: Annotated[int, typer.Option(min=128, max=12_800, help="How many trade, all the time.")] = 1_280,
) -> None:
    """Placing and reading as a cell fills with orders, on a PostgreSQL of its own."""
    _print_result(
        run_to_end(lambda: growth.measure(say, orders=orders, slices=slices, customers=customers), own_cell=True)
    )


@app.command("fills")
def bench_fills(
    count: Annotated[int, typer.Option("--fills", min=128, max=1_000_000)] = 20_000, rounds: Rounds = 5
) -> None:
    """Fills per second by one worker, from a venue's socket to the books, on a PostgreSQL of its own."""
    _print_result(run_to_end(lambda: fills.measure(say, fills=count, rounds=rounds), own_cell=True))


@app.command("risk-checks")
def bench_risk_checks(
    calls: Annotated[int, typer.Option(min=100, max=1_000_000, help="Of each kind of customer in a round.")] = 2_000,
    rounds: Rounds = 5,
) -> None:
    """What the risk checks of an order cost inside the procedure, on a PostgreSQL of its own."""
    _print_result(run_to_end(lambda: risk_checks.measure(say, calls=calls, rounds=rounds), own_cell=True))


@app.command("ledger-checks")
def bench_ledger_checks(
    postings: Annotated[int, typer.Option(min=10_000, max=20_000_000)] = 1_000_000, rounds: Rounds = 3
) -> None:
    """Proving the books of a cell with a million postings, on a PostgreSQL of its own."""
    _print_result(run_to_end(lambda: ledger_checks.measure(say, postings=postings, rounds=rounds), own_cell=True))


@app.command("half-load")
def bench_half_load(
    router: Router = None, stack: Stack = None, cell: str = "cell-1", seconds: Seconds = 8, rounds: Rounds = 5
) -> None:
    """What the router adds at half of the load that it and the cell can take."""
    view = OperatorView(stack)

    async def measure() -> Result:
        address = await router_address(router, view)
        return await half_load.measure(address, view, say, cell=cell, seconds=seconds, rounds=rounds)

    _print_result(run_to_end(measure))


@app.command("haproxy")
def bench_haproxy(seconds: Seconds = 4, rounds: Rounds = 7) -> None:
    """The router beside HAProxy with JWT check and map lookup; needs `apt-get install haproxy wrk`, and no stack."""
    with failures_to_exit_codes():
        _print_result(router_vs_haproxy.measure(say, seconds=seconds, rounds=rounds))


@app.command("before-cell")
def bench_before_cell(seconds: Seconds = 4, rounds: Rounds = 9) -> None:
    """What the router adds before a real cell, beside HAProxy; needs `apt-get install haproxy`, and no stack."""
    _print_result(run_to_end(lambda: before_a_cell.measure(say, seconds=seconds, rounds=rounds), own_cell=True))


@app.command("isolation")
def bench_isolation(seconds: Seconds = 4, rounds: Rounds = 5) -> None:
    """One cell's users while another cell hangs, is slow, resets or says garbage; needs no stack."""
    with failures_to_exit_codes():
        _print_result(isolation.measure(say, seconds=seconds, rounds=rounds))


@app.command("noisy-neighbour")
def bench_noisy_neighbour(seconds: Seconds = 10, rounds: Rounds = 5) -> None:
    """One customer's orders and reads beside another who floods the same cell; needs no stack."""
    _print_result(run_to_end(lambda: noisy_neighbour.measure(say, seconds=seconds, rounds=rounds), own_cell=True))


@app.command("map")
def bench_map(pins: Annotated[int, typer.Option(min=0, max=10_000_000)] = 1_000_000, rounds: Rounds = 5) -> None:
    """The whole shard map in one process: lookups, loading, memory; needs no stack."""
    with failures_to_exit_codes():
        _print_result(map_in_memory.measure(say, pins=pins, rounds=rounds))


@app.command("map-push")
def bench_map_push(
    stack: Stack = None, cell: str = "cell-1", flips: Annotated[int, typer.Option(min=2, max=1_000)] = 40
) -> None:
    """How soon every router of a running stack holds a change of the map."""
    _print_result(run_to_end(lambda: map_push.measure(OperatorView(stack), say, cell=cell, flips=flips)))


@app.command("idle")
def bench_idle(clients: Annotated[int, typer.Option(min=100, max=15_000)] = 10_000, rounds: Rounds = 3) -> None:
    """What idle keep-alive clients cost a router in memory; needs no stack."""
    with failures_to_exit_codes():
        _print_result(idle_connections.measure(say, clients=clients, rounds=rounds))


@app.command("beside")
def bench_beside(
    other: Annotated[Path, typer.Argument(help="Another checkout, with its own `make install`.", exists=True)],
    benchmark: Annotated[str, typer.Argument(help="fills, procedure, orders, ...: one that takes --rounds.")],
    rounds: Annotated[int, typer.Option(min=beside.ROUNDS_MIN, max=50)] = 5,
    stack: Stack = None,
    other_stack: Annotated[str | None, typer.Option(help="The other checkout's stack, if it needs one.")] = None,
    argument: Annotated[list[str] | None, typer.Option(help="Handed to both, as --argument=--fills=5000.")] = None,
) -> None:
    """A measurement here and in another checkout in turns, with an A/A pair: did a change cost anything?"""
    stacks = (stack, other_stack) if stack is not None and other_stack is not None else None
    with failures_to_exit_codes():
        _print_result(beside.measure(say, benchmark, other, arguments=argument or [], stacks=stacks, rounds=rounds))


@app.command("startup")
def bench_startup(rounds: Rounds = 3) -> None:
    """Time of up, cells add and demo, on stacks of its own."""
    _print_result(run_to_end(lambda: startup.measure(say, rounds=rounds)))


@app.callback()
def bench_all(context: typer.Context) -> None:
    """Without a command: all of them, on the running stack; start-up on stacks of its own."""
    if context.invoked_subcommand is None:
        bench_orders()
        bench_router()
        bench_startup()


def say(words: str) -> None:
    Console(stderr=True).print(words, markup=False, highlight=False, soft_wrap=True)


def _print_result(result: Result) -> None:
    document, path = result
    print(json.dumps({"median": document["median"], "file": str(path)}, indent=2))
