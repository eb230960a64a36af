"""One progress bar per stage of a run, on standard error, so that standard output stays the result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextmanager
def progress_line() -> Iterator[Callable[[str, int, int], None]]:
    """Yields `advance(stage, done, total)`; a stage's bar appears with its first call."""
    bar = Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}
    with bar:

        def advance(stage: str, done: int, total: int) -> None:
            task = tasks.get(stage)
            if task is None:
                for earlier in tasks.values():
                    bar.stop_task(earlier)
                task = tasks[stage] = bar.add_task(stage, total=total)
            bar.update(task, completed=done, total=total)

        yield advance
