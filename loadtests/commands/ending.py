"""How a command ends: right, or with one line that says why not.

Exit codes: 0 right, 1 a difference or a refusal, 2 usage, 3 not reachable.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from loadtests.client import CustomerError, RouterSilent
from loadtests.measurement.own_cell import OwnCellFailed
from loadtests.measurement.pgbench import PgbenchFailed
from loadtests.measurement.raw_http import ConnectionBroken
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.operator_view import OperatorRefused
from loadtests.replay.state import ReplayRefused
from loadtests.replay.tape_file import TapeRefused

T = TypeVar("T")


def run_to_end(work: Callable[[], Coroutine[Any, Any, T]], *, own_cell: bool = False) -> T:
    """Run to the end, or say in one line why not. uvloop cannot start a server as another user, asyncio can."""
    with failures_to_exit_codes():
        return asyncio.run(work()) if own_cell else uvloop.run(work())


@contextmanager
def failures_to_exit_codes() -> Iterator[None]:
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
    """Print the words and raise the exit. Raises Exit."""
    Console(stderr=True).print(words, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
