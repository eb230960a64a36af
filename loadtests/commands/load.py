"""`python -m loadtests accounts | spike | verdict`: customers beforehand, a rehearsal with its verdict, and the verdict
again.

Exit codes of `spike` and `verdict`: 0 passed, 1 failed, 2 usage, 3 not reachable, 10 thrown away because the generator
lagged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from loadtests.commands.ending import fail, run_to_end
from loadtests.commands.options import Router, Stack
from loadtests.load.account_file import AccountFileRefused
from loadtests.load.arrivals import RateTooLow
from loadtests.load.conduct import GeneratorFailed, Rehearsal, rehearse
from loadtests.load.found import RunNotKept
from loadtests.load.honesty import ADVICE
from loadtests.load.judgement import RunThrownAway, judge_run
from loadtests.load.make_accounts import prepare_accounts
from loadtests.load.report import Run, kept_document, offered
from loadtests.load.verdict import is_passed
from loadtests.measurement.conditions import conditions
from loadtests.measurement.results import write_result
from loadtests.measurement.state_folder import state_folder
from loadtests.operator_view import OperatorView, router_address
from loadtests.progress_line import progress_line

EXIT_THROWN_AWAY: Final = 10
"""Apart from a verdict's 1: the run says nothing, so it is run again."""
SHORT_S: Final = 36.0
"""Phases of whole seconds; with accounts, audit and books it takes about two minutes on two cores."""
SHORT_BASE_PER_S: Final = 6.0
"""Seven times this is little for two cores, so that seven times is seven times on a busy machine, too."""
SHORT_ACCOUNTS: Final = 60
"""Customers of a short run: its rates need no more."""

Accounts = Annotated[
    Path | None, typer.Option("--accounts", help="File of accounts; else in the stack's state folder.")
]
Meme = Annotated[str, typer.Option(help="The symbol everybody talks about.")]


def accounts(
    count: Annotated[int, typer.Option(min=6, max=50_000, help="Of all classes together.")] = 240,
    file: Accounts = None,
    meme: Meme = "GME",
    router: Router = None,
    stack: Stack = None,
) -> None:
    """Make customers for load tests beforehand, with cash and shares; those that are there are used again."""
    view = OperatorView(stack)

    async def make() -> Path:
        path = file or await _default_file(view)
        await _prepare(await router_address(router, view), view, path, count, meme)
        return path

    with _refusals():
        print(run_to_end(make))


def spike(
    short: Annotated[
        bool, typer.Option("--short", help="The same in 36 s, at a low rate: about two minutes in all.")
    ] = False,
    shape: Annotated[str, typer.Option(help="meme-spike, market-open or steady-day.")] = "meme-spike",
    base_rate: Annotated[
        float | None, typer.Option(min=1, help="Requests per second at factor 1; else 20, short 6.")
    ] = None,
    count: Annotated[int | None, typer.Option("--customers", min=6, max=50_000, help="Else 240, short 60.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed: the same requests at the same times.")] = 1,
    meme: Meme = "GME",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Of the generator.")] = 1,
    cores: Annotated[str, typer.Option(help="Where the generator runs, as 1 or 2,3; else on the last ones.")] = "",
    admission_rate: Annotated[
        float | None, typer.Option(min=0, help="Orders a second each cell is to get; else what `shardctl status` says.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the result in loadtests/benchmarks/results, too.")] = False,
    file: Accounts = None,
    folder: Annotated[Path | None, typer.Option(help="Where runs are kept; else beside the accounts.")] = None,
    router: Router = None,
    stack: Stack = None,
) -> None:
    """Rehearse the morning of a meme: seven times the traffic on one symbol, a verdict, a report of who noticed.

    Exit codes: 0 passed, 1 failed, 10 thrown away because the generator itself was late.
    """
    view = OperatorView(stack)

    where = conditions() if keep else {}

    async def run() -> tuple[Run, Path]:
        path = file or await _default_file(view)
        address = await router_address(router, view)
        wanted = count or (SHORT_ACCOUNTS if short else 240)
        await _prepare(address, view, path, wanted, meme)
        asked = Rehearsal(
            shape=shape,
            lasting_s=SHORT_S if short else 0.0,
            base_per_s=base_rate or (SHORT_BASE_PER_S if short else 20.0),
            seed=seed,
            meme=meme,
            processes=processes,
            cores=cores,
            accounts=path,
            runs=folder or path.parent / "runs",
            admission_rate=await view.admission_rate() if admission_rate is None else admission_rate,
        )
        with progress_line() as progress:
            return await rehearse(address, view, asked, progress)

    with _refusals():
        judged, made = run_to_end(run)
        if keep:
            print(write_result(shape.replace("-", "_"), kept_document(judged, where)))
        _tell(judged, made)


def verdict(
    folder: Annotated[Path, typer.Argument(help="Of a run, as `spike` or Locust names it.")],
    stack: Stack = None,
) -> None:
    """Judge a run again by what is in its folder; the stack is asked only if nobody has asked it after the run.

    Exit codes: 0 passed, 1 failed, 10 thrown away because the generator itself was late.
    """

    async def again() -> Run:
        return await judge_run(OperatorView(stack), folder)

    with _refusals():
        _tell(run_to_end(again), folder)


async def _default_file(view: OperatorView) -> Path:
    return await state_folder(view) / "loadtests" / "accounts.json"


async def _prepare(address: str, view: OperatorView, path: Path, count: int, meme: str) -> None:
    with progress_line() as progress:
        await prepare_accounts(address, view, path, count, meme, progress)


@contextmanager
def _refusals() -> Iterator[None]:
    """What a rehearsal refuses, in one line or a few, with its exit code."""
    try:
        yield
    except (AccountFileRefused, RateTooLow, GeneratorFailed, RunNotKept) as error:
        fail(str(error), 1)
    except RunThrownAway as thrown:
        lines = "\n".join(f"  - {reason}" for reason in thrown.reasons)
        fail(f"Thrown away, not reported: the generator lagged.\n{lines}\n{ADVICE}", EXIT_THROWN_AWAY)


def _tell(run: Run, folder: Path) -> None:
    console = Console()
    table = Table(title=f"{run.facts.shape}, run {run.facts.run}")
    for head in ("", "rule", "measured", "bar"):
        table.add_column(head)
    for rule in run.rules:
        sign = ("[green]pass[/]" if rule.is_kept else "[bold red]FAIL[/]") if rule.limit else "stated"
        table.add_row(sign, rule.about, rule.measured, rule.limit)
    console.print(table)
    for example in run.audit.examples:
        console.print(f"  - {example}", markup=False, highlight=False, soft_wrap=True)
    most = max(offered(run), key=lambda row: row["planned_times"])
    console.print(
        f"{most['phase']}: {most['planned_times']:g} times the base rate was planned, {most['times']:g} times what was "
        f"sent at first was sent ({most['per_s']:g} requests a second)",
        highlight=False,
        soft_wrap=True,
    )
    for each in run.generators:
        console.print(
            f"{each.process} on core {each.cores}, niceness {each.niceness}: "
            f"loop late by {each.lag_p50_ms:.1f} ms (p99 {each.lag_p99_ms:.1f}), "
            f"requests left late by {each.late_p50_ms:.1f} ms (p99 {each.late_p99_ms:.1f}), "
            f"{each.busiest_share:.0%} of the core in its busiest 5 s",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"{folder / 'report.html'}\n{folder / 'report.json'}", highlight=False, soft_wrap=True)
    raise typer.Exit(0 if is_passed(run.rules) else 1)
