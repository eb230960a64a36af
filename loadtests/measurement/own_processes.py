"""Processes that a benchmark starts for itself, without a stack: a router as in a stack but for its neighbours, which
known users do not need; and whatever it is measured against. Pinned to a core where the scheduler is to have no say.
"""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil

from infra.security.keys import generate_key_files
from infra.topology.bucketing import BUCKET_COUNT
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId
from infra.topology.shard_map import build_map
from infra.topology.snapshot import encode_map
from loadtests.measurement.refusal import MeasurementRefused


@contextmanager
def running_router(folder: Path, port: int, cells: Mapping[str, str], *, core: int | None) -> Iterator[int]:
    """Its pid. The buckets are dealt out in turn over the cells (name -> address); keys are made in `folder`/keys."""
    keys, map_file = folder / "keys", folder / "router.map"
    generate_key_files(keys)
    names = list(cells)
    shard_map = build_map(
        lineage=uuid4(),
        epoch=1,
        cells=[Cell(CellId(name), api_urls=(url,)) for name, url in cells.items()],
        buckets={bucket: names[bucket % len(names)] for bucket in range(BUCKET_COUNT)},
    )
    map_file.write_bytes(encode_map(shard_map))
    settings = {
        "ROUTER_LISTEN__PORT": str(port),
        "ROUTER_OPERATOR__PORT": str(free_port()),
        "ROUTER_CONTROL__DSN": "postgresql://nobody@127.0.0.1:1/none",
        "ROUTER_REDIS__URL": "redis://127.0.0.1:1",
        "ROUTER_MAP_FILE": str(map_file),
        "ROUTER_KEYS_DIR": str(keys),
        "ROUTER_MAP_POLL_S": "60",
        "ROUTER_LIMITS__USER_PER_S": "100000",
        "ROUTER_LIMITS__USER_BURST": "100000",
        "ROUTER_LIMITS__ADDRESS_PER_S": "1000000",
        "ROUTER_LIMITS__ADDRESS_BURST": "1000000",
        "ROUTER_EDGE__CLIENTS_PER_ADDRESS_MAX": "20000",
    }
    with running(_pinned([sys.executable, "-m", "router", "serve"], core), settings) as pid:
        yield pid


@contextmanager
def running_haproxy(path: Path, config: str, *, core: int | None) -> Iterator[int]:
    """Its pid; the configuration is written to `path`."""
    path.write_text(config)
    with running(_pinned(["haproxy", "-db", "-q", "-f", str(path)], core), {}) as pid:
        yield pid


def _pinned(command: list[str], core: int | None) -> list[str]:
    """taskset becomes the program, so its pid is the program's. None: on all cores."""
    return command if core is None else ["taskset", "-c", str(core), *command]


@contextmanager
def running(command: list[str], settings: Mapping[str, str]) -> Iterator[int]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int) -> None:
    """Raises MeasurementRefused."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise MeasurementRefused(f"nothing listens on port {port}")


def cpu_s(pid: int) -> float:
    """Processor time that this process has used, in seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
