"""Named windows of a process that is killed, or stalled, exactly in one of them, as often as a test asks.

A window is a fault point limited by a marker file: while the file is there nothing happens. `hits` says how often each
window was met; a test that forces a window asserts it, so that a renamed or unreachable point fails.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

DEADLINE_S = 30.0


class Windows:
    """The windows of one process under test, all closed at first."""

    def __init__(self, folder: Path, points: Iterable[str], action: str = "kill") -> None:
        self._markers = {point: folder / point for point in points}
        for marker in self._markers.values():
            marker.touch()
        self.fault_points = ",".join(f"{point}={action}@{marker}" for point, marker in self._markers.items())
        self.hits: Counter[str] = Counter()

    def open(self, point: str) -> None:
        """The next time the process comes there, once."""
        self._markers[point].unlink()

    async def met(self, point: str, limit_s: float = DEADLINE_S) -> None:
        """Wait until it came there; fails if it does not come."""
        ends_at = asyncio.get_running_loop().time() + limit_s
        while not self._markers[point].exists():
            assert asyncio.get_running_loop().time() < ends_at, f"the window was missed: {point}"
            await asyncio.sleep(0.005)
        self.hits[point] += 1
