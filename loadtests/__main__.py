"""The load tests' command line, `python -m loadtests`: demo, replay, accounts, spike, verdict, bench, generate-tape.

Exit codes: 0 right, 1 a difference or a refusal, 2 usage, 3 not reachable, 10 a load test whose generator lagged.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadtests.commands import bench, load
from loadtests.commands.ending import run_to_end
from loadtests.commands.options import Router, Stack
from loadtests.demo.report import print_demo
from loadtests.demo.run import DemoSize, run_demo
from loadtests.operator_view import OperatorView, router_address
from loadtests.progress_line import progress_line
from loadtests.replay.generated_tape import generate_tape
from loadtests.replay.report import print_report, report_document
from loadtests.replay.run import read_plan, run_replay
from loadtests.replay.state import ReplayReport, ReplayRequest
from loadtests.replay.tape_plan import TapePlan

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Customers of the platform: demo, replay, benchmarks."
)
app.add_typer(bench.app, name="bench")
app.command()(load.accounts)
app.command()(load.spike)
app.command()(load.verdict)


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

    async def play() -> bool:
        address = await router_address(router, view)
        with progress_line() as progress:
            report = await run_demo(address, view, size, progress)
        print_demo(report, console)
        return not report.faults

    _exit(run_to_end(play))


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

    report = run_to_end(read_and_play)
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


def _exit(right: bool) -> None:
    raise typer.Exit(0 if right else 1)


if __name__ == "__main__":
    app()
