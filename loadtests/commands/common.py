"""What the commands of the load tests share: the options that say which stack, and how a command ends: right, or
with one line that says why not.

Exit codes: 0 right, 1 a difference or a refusal, 2 usage, 3 not reachable.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from loadtests.benchmarks.orders_per_second import MeasurementRefused
from loadtests.benchmarks.own_cell import OwnCellFailed
from loadtests.benchmarks.pgbench import PgbenchFailed
from loadtests.client import CustomerError, RouterSilent
from loadtests.operator_view import OperatorRefused
from loadtests.raw_client import ConnectionBroken
from loadtests.replay_state import ReplayRefused
from loadtests.tape_file import TapeRefused

T = TypeVar("T")

Router = Annotated[
    str | None, typer.Option("--router", help="Address of the router; else ROUTER_URL, else what shardctl says.")
]
Stack = Annotated[str | None, typer.Option("--stack", help="Name of the stack, as for shardctl.")]


def run_to_end(work: Callable[[], Coroutine[Any, Any, T]], *, own_cell: bool = False) -> T:
    """Run to the end, or say in one line why not. uvloop cannot start a server as another user, asyncio can."""
    with failures_in_words():
        return asyncio.run(work()) if own_cell else uvloop.run(work())


@contextmanager
def failures_in_words() -> Iterator[None]:
    """What a command of ours refuses ends it with one line and an exit code."""
    try:
        yield
    except RouterSilent as error:
        fail(str(error), 3)
    except (
        TapeRefused,
        ReplayRefused,
        CustomerError,
        MeasurementRefused,
        PgbenchFailed,
        ConnectionBroken,
        OwnCellFailed,
    ) as error:
        fail(str(error), 1)
    except OperatorRefused as error:
        fail(str(error), error.code if error.code in (1, 2, 3, 4) else 3)


def fail(words: str, code: int) -> NoReturn:
    Console(stderr=True).print(words, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
