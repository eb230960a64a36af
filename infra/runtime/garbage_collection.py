"""Python's collector of reference cycles, in a process that answers people.

A full collection looks at every object. A hundred thousand of them come with the start (modules, routes, schemas) and
live as long as the process: looking at these took 50 to 200 ms on a busy machine, in which nobody was answered. So they
are frozen. What comes later is looked at less often than by default, because nearly all of it ends by its reference
count. Cycles made after the start are found as before, only later.
"""

import gc
from typing import Final

YOUNG_MAX: Final = 10_000
"""New objects, less ended ones, between two looks; the default is 700. A look at so many takes one or two milliseconds,
and they are a few megabytes."""


def freeze_startup_objects() -> None:
    """Call once per process, when it has started: the collector never looks again at what exists now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
