"""The control service as drills ask it that kill it: until it answers, longer than a command would wait."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shardctl.control_client import ControlClient
from shardctl.errors import NotReachable

LIMIT_S = 120.0


class PersistentControl:
    def __init__(self, socket: Path) -> None:
        self._client = ControlClient(socket)

    def get(self, path: str) -> dict[str, Any]:
        return self._ask(lambda: self._client.get(path))

    def post(self, path: str, body: object) -> dict[str, Any]:
        """Sent again if the answer was lost: give it an idempotency key."""
        return self._ask(lambda: self._client.post(path, body))

    def ended(self, number: int) -> dict[str, Any]:
        until_s = time.monotonic() + LIMIT_S
        while (found := self.get(f"/v1/operations/{number}"))["exit_code"] is None:
            assert time.monotonic() < until_s, found
            time.sleep(0.1)
        return found

    def _ask(self, once: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        until_s = time.monotonic() + LIMIT_S
        while True:
            try:
                return once()
            except NotReachable:
                assert time.monotonic() < until_s
                time.sleep(0.05)
