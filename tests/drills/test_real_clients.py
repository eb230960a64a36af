"""Stock clients as processes, each as it comes: they sign up, log in, deposit, trade, repeat, cancel, read by HEAD,
page through lists, and send two hundred requests on one connection. Their sources lie beside this file (`clients/`).
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.backends.checkout import project_root
from tests.support.counting_proxy import Traffic, counting_proxy
from tests.support.outside_tools import outside_module, outside_tool
from tests.support.stack import Stack

CLIENTS = Path(__file__).parent / "clients"
PATIENCE_S = 600.0
REQUESTS = 200
PLACED = 5


@dataclass(frozen=True)
class Client:
    """How one is begun; the router's address and a name for its customer follow."""

    command: tuple[str, ...]
    module: str | None = None
    asks_for_h2c: bool = False
    connections_max: int = 1
    """Of all its requests. Node closes after HEAD, and its pool opens another while it still puts an answer away."""
    connects_each_time: bool = False
    """One process for each request: what it says of the two hundred counts."""


CURL = ("python", "-m", "tests.drills.clients.with_curl")
CLIENTS_BY_NAME = {
    "java": Client(("java", "-Xmx256m", "-XX:+UseSerialGC", str(CLIENTS / "Client.java")), asks_for_h2c=True),
    "node": Client(("node", str(CLIENTS / "client.mjs")), connections_max=4),
    "go": Client(("go", "run", str(CLIENTS / "client.go"))),
    "curl": Client(CURL, connects_each_time=True),
    "curl --http2": Client(
        ("python", "-m", "tests.drills.clients.with_curl"), asks_for_h2c=True, connects_each_time=True
    ),
    "requests": Client(("python", "-m", "tests.drills.clients.with_requests"), module="requests"),
    "httpx": Client(("python", "-m", "tests.drills.clients.with_httpx"), module="httpx"),
    "aiohttp": Client(("python", "-m", "tests.drills.clients.with_aiohttp"), module="aiohttp"),
}


@pytest.fixture(scope="module")
def router(stack: Stack) -> tuple[str, int]:
    url = urlsplit(stack.env()["ROUTER_URL"])
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


@pytest.fixture
def traffic(router: tuple[str, int]) -> Iterator[Traffic]:
    with counting_proxy(*router) as traffic:
        yield traffic


@pytest.mark.parametrize("name", CLIENTS_BY_NAME)
def test_a_stock_client_trades(name: str, traffic: Traffic, tmp_path: Path) -> None:
    client = CLIENTS_BY_NAME[name]
    tool, *arguments = client.command
    if name.startswith("curl"):
        outside_tool("curl", for_what="a client as a process")
    if name == "java":
        outside_tool("javac", for_what="the JDK runs its source")
    if client.module is not None:
        outside_module(client.module, for_what="a client as a process")
    path = sys.executable if tool == "python" else outside_tool(tool, for_what="a client as a process")
    person = f"{tool}-{uuid.uuid4().hex}"
    done = subprocess.run(
        [path, *arguments, f"http://127.0.0.1:{traffic.port}", person, *name.split(" ")[1:]],
        env={
            **os.environ,  # Go: the standard library alone, and nothing of it outside of this folder
            "GOCACHE": str(tmp_path / "go"), "GOPATH": str(tmp_path / "gopath"), "GOFLAGS": "-mod=mod",
            "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "NO_PROXY": "*", "no_proxy": "*",
            "PYTHONPATH": str(project_root()),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert len({*seen["placed"]}) == PLACED
    assert seen["listed"] == seen["placed"][::-1]  # newest first, every page
    assert seen["entries"] >= 1 + PLACED  # the deposit and the holds
    assert seen["answered"] == REQUESTS
    held = 75 * (PLACED - 1)
    assert float(seen["cash"]) == 1000 - held + REQUESTS / 4
    if client.connects_each_time:
        assert seen["connections"] == 1
    else:
        assert traffic.connections <= client.connections_max
    close = b"\r\nconnection: close\r\n"
    assert traffic.count(close, answered=True) == traffic.count(close), "the router closes when it is asked to"
    h2c = traffic.count(b"\r\nupgrade: h2c\r\n")
    assert (h2c > REQUESTS) == client.asks_for_h2c, f"asked for h2c {h2c} times"
