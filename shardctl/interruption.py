"""What Ctrl-C means: the end of something that only shows, or a pause in something that goes on when run again."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from shardctl.errors import Interrupted

_Result = TypeVar("_Result")


def run_resumable(work: Coroutine[Any, Any, _Result], *, resume: str) -> _Result:
    """Run to the end; an interrupt becomes exit code 4 and names the command that goes on from there."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; `{resume}` goes on from there") from error


@contextmanager
def shown_until_interrupted() -> Iterator[None]:
    """An interrupt is how a reader leaves; nothing is wrong then."""
    try:
        yield
    except KeyboardInterrupt:
        return
