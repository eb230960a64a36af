"""What ten thousand keep-alive clients who say nothing cost a router in memory.

Each has asked once and was answered, so its connection has all that a connection ever has. At the end some of them ask
again: an idle connection that no longer works would be cheap, and refuses the result.
"""

import resource
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psutil

from infra.security.customer_token import CustomerTokenSigner
from infra.security.keys import CUSTOMER_SIGNING_FILE, load_signing_ring
from loadtests.measurement.conditions import conditions
from loadtests.measurement.own_processes import await_port, free_port, running, running_router
from loadtests.measurement.raw_http import build_request
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.quantiles import medians

ANSWER_S_MAX: Final = 10.0
"""For one answer of a router that takes thousands of connections meanwhile."""
ASKED_AGAIN: Final = 200
"""Of the connections, at the end: they are still served."""
SETTLE_S: Final = 1.0
"""After the last connection, before the memory is read."""
_ROUTER_CORE: Final = 0
"""Number of the processor that is the router's alone."""


def measure(say: Say, *, clients: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused."""
    where = conditions()
    measured: list[dict[str, float]] = []
    for number in range(rounds):
        measured.append(hold_connections(clients))
        said = ", ".join(f"{name} {value:g}" for name, value in measured[-1].items())
        say(f"round {number + 1} of {rounds}: {said}")
    document = {
        "benchmark": "idle_connections",
        "what": "resident memory of a router per idle keep-alive client; goal: less than 20 KB with 10,000",
        "conditions": where,
        "settings": {"clients": clients, "rounds": rounds},
        "median": medians(measured),
        "rounds": measured,
    }
    return document, write_result("idle_connections", document)


def hold_connections(clients: int) -> dict[str, float]:
    """One router, one cell that only answers, and all of the clients. Raises MeasurementRefused if the machine allows
    too few open files."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="router-idle-")))
        cell, port = free_port(), free_port()
        stack.enter_context(running([sys.executable, "-m", "loadtests.measurement.sick_cell", f"{cell}=well"], {}))
        router = stack.enter_context(
            running_router(folder, port, {"cell-1": f"http://127.0.0.1:{cell}"}, core=_ROUTER_CORE)
        )
        await_port(cell)
        await_port(port)
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < clients + 100:
            raise MeasurementRefused(f"{clients} connections need more open files than `ulimit -Hn` allows")
        signer = CustomerTokenSigner(load_signing_ring(folder / "keys" / CUSTOMER_SIGNING_FILE))
        request = build_request(
            "GET",
            f"http://127.0.0.1:{port}/v1/account",
            {"Authorization": f"Bearer {signer.sign(uuid4(), int(time.time()))}"},
        )
        process = psutil.Process(router)
        ask(stack.enter_context(socket.create_connection(("127.0.0.1", port))), request)  # what is made once is made
        before = process.memory_info().rss
        began = time.perf_counter()
        held = []
        for _ in range(clients):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            ask(client, request)
            held.append(client)
        connected_s = time.perf_counter() - began
        time.sleep(SETTLE_S)
        grown = process.memory_info().rss - before
        for client in held[:: max(1, clients // ASKED_AGAIN)]:
            ask(client, request)
        return {"kb_per_client": round(grown / 1024 / clients, 2), "connected_per_s": round(clients / connected_s, 1)}


def ask(client: socket.socket, request: bytes) -> None:
    """Raises MeasurementRefused unless the answer is 200."""
    client.settimeout(ANSWER_S_MAX)
    client.sendall(request)
    answer = client.recv(65_536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise MeasurementRefused(f"an answer other than 200: {answer[:200]!r}")
