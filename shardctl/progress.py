"""Progress of a long operation on standard error: a line per milestone, with a spinner where there is a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.text import Text

from infra.backends.backend import Phase, Report, Step
from shardctl.output import progress_console

_MARKS = {Phase.PREPARE: ("·", "dim"), Phase.READY: ("✓", "green"), Phase.STOP: ("■", "yellow")}


@contextmanager
def shown_progress(title: str, *, quiet: bool = False) -> Iterator[Report]:
    """A report that prints its steps. `quiet` prints nothing: the caller prints JSON."""
    if quiet:
        yield lambda _: None
        return
    begun = time.monotonic()
    with progress_console.status(title) as status:

        def report(step: Step) -> None:
            if step.phase is Phase.START:
                status.update(f"{title}: {step.subject}")
                return
            elapsed_s = time.monotonic() - begun
            mark, style = _MARKS[step.phase]
            line = Text.assemble((mark, style), f" {elapsed_s:5.1f} s  {step.subject}")
            if step.detail:
                line.append(f"  {step.detail}", style="dim")
            progress_console.print(line, highlight=False)

        yield report
