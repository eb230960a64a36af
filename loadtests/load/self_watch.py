"""How the generator itself fares: how late its loop comes round, how late requests leave, how much of a core it takes.

A greenlet sleeps for a few milliseconds and looks how long it was; the processor's time is read once per window. The
process pins itself, so that it does not wander between cores and is measured against one, and goes before others there
where it may: what it measures is how long customers wait, not how long it waits itself beside the cells.
"""

import os
import time
from contextlib import suppress
from typing import Final

import gevent

from loadtests.load.histogram import LatencyHistogram
from loadtests.load.honesty import GeneratorFacts

TICK_S: Final = 0.02
"""Between due times whose lateness is the loop's lag."""
WINDOW_S: Final = 5.0
"""Of one figure: long enough for 250 ticks, short enough to name the moment."""
NICENESS: Final = -10
"""Before everything that has the usual priority of 0, and behind what the system itself needs (-20)."""


def cores_allowed(text: str) -> list[int]:
    """From "1" or "2,3". Raises ValueError for what is no core of this machine; nothing where a process cannot pin."""
    if not hasattr(os, "sched_getaffinity"):  # macOS
        return []
    allowed = os.sched_getaffinity(0)
    wanted = [int(core) for core in text.split(",") if core]
    if missing := set(wanted) - allowed:
        raise ValueError(f"--cores {text}: this process may run on {sorted(allowed)}, not on {sorted(missing)}")
    return wanted or sorted(allowed, reverse=True)


def pin(cores: list[int], index: int) -> list[int]:
    """The process with this index stays on one of these cores. Returns where it may run now."""
    if not cores:
        return []
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    return sorted(os.sched_getaffinity(0))


def go_before_others() -> int:
    """Only root may. Returns the niceness that the process has now."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    return os.getpriority(os.PRIO_PROCESS, 0)


class SelfWatch:
    def __init__(self, process: str, cores: list[int], niceness: int) -> None:
        self._process = process
        self._niceness = niceness
        self._cores = cores
        self._lag = LatencyHistogram()
        self._late = LatencyHistogram()
        self._shares: list[float] = []
        self.sent = 0
        self._began_s = time.perf_counter()
        self._cpu_began_s = time.process_time()
        self._greenlet = gevent.spawn(self._watch)

    def left(self, late_s: float) -> None:
        """A request left; its customer was free when it was due."""
        self._late.record(round(late_s * 1_000_000))

    def stop(self) -> GeneratorFacts:
        self._greenlet.kill()
        wall_s = time.perf_counter() - self._began_s
        cpu_share = (time.process_time() - self._cpu_began_s) / wall_s
        return GeneratorFacts(
            process=self._process,
            cores=self._cores,
            lag_p50_ms=self._lag.percentile_us(50) / 1000,
            lag_p99_ms=self._lag.percentile_us(99) / 1000,
            lag_max_ms=self._lag.max_us / 1000,
            late_p50_ms=self._late.percentile_us(50) / 1000,
            late_p99_ms=self._late.percentile_us(99) / 1000,
            busiest_share=max(self._shares, default=cpu_share),
            cpu_share=cpu_share,
            sent=self.sent,
            niceness=self._niceness,
        )

    def _watch(self) -> None:
        window_ends_s = self._began_s + WINDOW_S
        cpu_s = self._cpu_began_s
        while True:
            before_s = time.perf_counter()
            gevent.sleep(TICK_S)
            now_s = time.perf_counter()
            self._lag.record(round((now_s - before_s - TICK_S) * 1_000_000))
            if now_s >= window_ends_s:
                cpu_now_s = time.process_time()
                self._shares.append((cpu_now_s - cpu_s) / (now_s - window_ends_s + WINDOW_S))
                window_ends_s, cpu_s = now_s + WINDOW_S, cpu_now_s
