"""Python's collector of reference cycles in a process that answers people.

A full collection looks through every object there is. A hundred thousand of them come with the start (modules, routes,
schemas) and live as long as the process; to look through these took 50 to 200 ms on a busy machine, in which nobody was
answered. They are set aside. What comes later is looked through less often than by default: nearly all of it ends by
its reference count. Cycles that come after the start are found as before, only later.
"""

import gc
from typing import Final

YOUNG_MAX: Final = 10_000
"""Objects that have come since the last look and not gone; the default is 700. To look through so many takes a
millisecond or two, and they are a few megabytes."""


def set_startup_aside() -> None:
    """Once per process, when it has started: what is there now is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
