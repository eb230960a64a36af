"""What Ctrl-C means: the ordinary end of a command that only shows, an interruption of one that can be resumed."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from shardctl.errors import Interrupted

_Result = TypeVar("_Result")


def run_resumable(work: Coroutine[Any, Any, _Result], *, resume: str) -> _Result:
    """Run to the end. Raises Interrupted (exit code 4), which names the command that resumes, on Ctrl-C."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; `{resume}` continues from there") from error


@contextmanager
def shown_until_interrupted() -> Iterator[None]:
    """Ctrl-C ends a command that follows or watches; its exit code is 0."""
    try:
        yield
    except KeyboardInterrupt:
        return
