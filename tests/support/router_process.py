"""Routers as processes of their own, for what only a process can show: signals, death, a new image on an old socket."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.backends.checkout import project_root
from tests.support.free_port import free_port
from tests.support.routers import DEAD_POSTGRES, DEAD_REDIS

_START_LIMIT_S = 60.0


@dataclass
class RouterProcess:
    name: str
    keys: Path
    map_file: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    operator_port: int = field(default_factory=free_port)
    log: Path = Path(os.devnull)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.spawn()
        self.await_ready()

    def spawn(self) -> None:
        environment = {
            **os.environ,
            "ROUTER_NAME": self.name,
            "ROUTER_LISTEN__PORT": str(self.port),
            "ROUTER_OPERATOR__PORT": str(self.operator_port),
            "ROUTER_CONTROL__DSN": DEAD_POSTGRES,
            "ROUTER_REDIS__URL": DEAD_REDIS,
            "ROUTER_MAP_FILE": str(self.map_file),
            "ROUTER_KEYS_DIR": str(self.keys),
            "PYTHONPATH": str(project_root()),
            "ROUTER_LIMITS__USER_PER_S": "100000",
            "ROUTER_LIMITS__ADDRESS_PER_S": "100000",
            "ROUTER_LIMITS__ADDRESS_BURST": "100000",
            **self.settings,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "router", "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def await_ready(self, unlike: str = "") -> str:
        """Until it is ready, and not the image that began at `unlike`; when this image began."""
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, f"{self.name} ended: see {self.log}"
            facts = self.readiness()
            if facts is not None and facts["status"] == "ready" and facts["started_at"] != unlike:
                return str(facts["started_at"])
            time.sleep(0.05)
        raise AssertionError(f"{self.name} is not ready")

    def readiness(self) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.operator_port}/health/ready", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)
        except OSError:
            return None

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operator_port}/metrics", timeout=20) as answer:
            return str(answer.read().decode())

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def start_all(routers: Iterable[RouterProcess]) -> None:
    """Those that do not run, side by side."""
    ended = [router for router in routers if not router.is_running]
    for router in ended:
        router.spawn()
    for router in ended:
        router.await_ready()


@contextmanager
def router_processes(
    count: int, folder: Path, keys: Path, map_file: Path, **settings: str
) -> Iterator[list[RouterProcess]]:
    """Each with a map file of its own, as in a stack."""
    routers = []
    try:
        for number in range(1, count + 1):
            own = folder / f"router-{number}.map"
            own.write_bytes(map_file.read_bytes())
            router = RouterProcess(f"router-{number}", keys, own, settings, log=folder / f"router-{number}.log")
            routers.append(router)
        start_all(routers)
        yield routers
    finally:
        for router in routers:
            router.kill()
