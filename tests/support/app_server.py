"""An app server of a cell as a process, on one port for as long as a test lives: killed, and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.databases import TestDatabase
from tests.support.free_port import free_port
from tests.support.windows import DEADLINE_S


class AppServer:
    """One `python -m cell serve` at a time."""

    def __init__(self, database: TestDatabase, keys: Path, fault_points: str = "", clock_offset_s: float = 0) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.operator_url = f"http://127.0.0.1:{(operator_port := free_port())}"
        self._environ = os.environ | {
            "CELL_NAME": "cell-1",
            "CELL_POSTGRES__DSN": database.service_dsn,
            "CELL_KEYS_DIR": str(keys),
            "CELL_LISTEN__PORT": str(port),
            "CELL_OPERATOR__PORT": str(operator_port),
            "CELL_MARKET_HOURS": "always",
            "CELL_SHARE_TRANSFERS": "accept",
            "CELL_CLOCK__OFFSET_S": str(clock_offset_s),
            "FAULT_POINTS": fault_points,
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "cell", "serve"], env=self._environ)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def died(self) -> bool:
        return self.process.wait(DEADLINE_S) == -signal.SIGKILL


@contextmanager
def app_server(
    database: TestDatabase, keys: Path, fault_points: str = "", *, clock_offset_s: float = 0
) -> Iterator[AppServer]:
    server = AppServer(database, keys, fault_points, clock_offset_s)
    try:
        yield server
    finally:
        server.kill()
