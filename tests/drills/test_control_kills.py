"""The control service is killed, and paused, in the middle of operations of a real stack: each goes on by itself.

One stack of one cell and two routers serves the file. What is hit is counted (`HITS`): a drill that never killed in the
middle of a step has shown nothing, and fails.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from infra.backends.checkout import project_root
from tests.support.drill_seed import drill_seed
from tests.support.free_port import free_port
from tests.support.persistent_control import PersistentControl
from tests.support.stack import Stack, fresh_stack

pytestmark = pytest.mark.minutes(5)

LIMIT_S = 120.0
HITS: Counter[str] = Counter()


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with fresh_stack("control-kills", "--cells", "1", "--routers", "2") as running:
        yield running


class Control:
    def __init__(self, stack: Stack) -> None:
        self.folder = stack.folder
        self.service = PersistentControl(self.folder.control_socket)
        self.stack = stack

    def pid(self) -> int:
        return int(self.stack.process("control")["pid"])

    def get(self, path: str) -> dict[str, Any]:
        """Across restarts of the service."""
        return self.service.get(path)

    def begin(self, *command: str) -> int:
        done = self.stack.run(*command, "--no-wait")
        assert done.exit_code == 8, done.stderr
        return int(self.get("/v1/operations?limit=1")["items"][0]["operation_id"])

    def await_step(self, number: int, action: str) -> None:
        """Until a step of that action has begun, or it is too late for it."""
        until_s = time.monotonic() + LIMIT_S
        while True:
            found = self.get(f"/v1/operations/{number}")
            states = {step["state"] for step in found["steps"] if step["action"] == action}
            if states != {"pending"} or found["exit_code"] is not None:
                return
            assert time.monotonic() < until_s, found
            time.sleep(0.01)

    def kill(self, number: int, pid: int) -> None:
        before = self.get(f"/v1/operations/{number}")
        os.kill(pid, signal.SIGKILL)
        if any(step["state"] == "running" for step in before["steps"]):
            HITS[before["kind"]] += 1

    def ended(self, number: int) -> dict[str, Any]:
        done = self.stack.run("operations", "watch", str(number), "--json")
        assert done.exit_code == 0, done.stdout + done.stderr
        return self.get(f"/v1/operations/{number}")


@pytest.fixture
def control(own: Stack) -> Control:
    return Control(own)


CASES = {
    ("routers", "restart"): ("renew", "renew"),
    ("keys", "rotate", "--drop-old"): ("settle", "drop"),
    ("cells", "add"): ("start_database", "start_processes"),
}


@pytest.mark.parametrize("command", CASES, ids=" ".join)
def test_killed_twice_in_the_middle(control: Control, command: tuple[str, ...]) -> None:
    seed = drill_seed()
    print(f"seed {seed}")
    pauses = random.Random(seed)
    pid = control.pid()
    number = control.begin(*command, "--reason", "a drill")
    for action in CASES[command]:
        control.await_step(number, action)
        time.sleep(pauses.uniform(0.0, 0.4))
        control.kill(number, pid)
        pid = new_pid(control, pid)
    found = control.ended(number)
    assert [step["state"] for step in found["steps"]] == ["done"] * len(found["steps"])
    events = [event["event"] for event in control.get(f"/v1/operations/{number}/events?after=0")["events"]]
    assert "taken_up" in events
    assert HITS[found["kind"]] >= 1, "it was never in the middle of a step"
    control.stack.must("keys", "check")
    assert [row["state"] for row in control.stack.must("routers", "list", "--json").json()] == ["ready", "ready"]
    keys = control.stack.must("keys", "list", "--json").json()
    cells = control.stack.must("cells", "list", "--json").json()
    rings = ["customer", "operator", "route", *(cell["cell"] for cell in cells)]
    assert sorted(row["ring"] for row in keys if row["state"] == "active") == sorted(rings)
    assert not [row for row in keys if row["state"] == "added"]
    for cell in cells:
        assert cell["state"] == "open"
        control.stack.must("cells", "check", cell["cell"])
    outcomes = [act["outcome"] for act in control.stack.must("audit", "list", "-n", "1", "--json").json()]
    assert outcomes == ["done"]
    assert control.stack.must("audit", "verify", "--json").json()["is_intact"]


def new_pid(control: Control, before: int) -> int:
    until_s = time.monotonic() + LIMIT_S
    while (row := control.stack.process("control"))["pid"] in (None, before):
        assert time.monotonic() < until_s, row
        time.sleep(0.1)
    return int(row["pid"])


def test_a_paused_leader_that_wakes_up_has_been_replaced_and_changes_nothing(control: Control) -> None:
    paused = control.pid()
    with second_service(control, paused) as second:
        number = control.begin("keys", "rotate", "route", "--reason", "a drill")
        control.await_step(number, "settle")
        os.kill(paused, signal.SIGSTOP)
        try:
            ended = second.ended(number)
            keys = key_files(control)
        finally:
            os.kill(paused, signal.SIGCONT)
        assert ended["exit_code"] == 0, ended
        events = control.get(f"/v1/operations/{number}/events?after=0")["events"]
        assert "taken_up" in [event["event"] for event in events]
        time.sleep(2.0)  # the one that woke up does what it was about to do, and is refused
        assert control.get(f"/v1/operations/{number}/events?after=0")["events"] == events
        assert key_files(control) == keys
    control.stack.must("keys", "check")


def key_files(control: Control) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in control.folder.keys.glob("*.json")}


@contextmanager
def second_service(control: Control, first: int) -> Iterator[PersistentControl]:
    """Another process of the same service, with the settings of the first and a socket of its own."""
    socket = control.folder.run / "second.sock"
    environment = {
        **psutil.Process(first).environ(),
        "CONTROL_NAME": "second",
        "CONTROL_SOCKET": str(socket),
        "CONTROL_OPERATOR__PORT": str(free_port()),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "shardctl", "serve"], env=environment, cwd=project_root(), stdout=subprocess.DEVNULL
    )
    try:
        until_s = time.monotonic() + LIMIT_S
        while not socket.exists():
            assert time.monotonic() < until_s
            time.sleep(0.05)
        yield PersistentControl(socket)
    finally:
        process.terminate()
        process.wait(30)


def test_up_with_a_service_that_cannot_start(own: Stack) -> None:
    own.must("down")
    dead = Stack(own.name, own.state_dir, {"CONTROL_LEASE_LIFE_S": "0"})
    up = dead.must("up")
    assert "control" in up.stderr
    assert "customers are served" in up.stderr
    assert own.process("control")["state"] != "running" or own.process("router-1")["state"] == "running"
    assert [row["state"] for row in own.must("routers", "list", "--json").json()] == ["ready", "ready"]
    assert "lease_life_s" in own.must("logs", "control").stdout
    refused = own.run("cells", "add", "--reason", "a drill")
    assert refused.exit_code == 3
    assert "the control service does not answer" in refused.stderr
    own.must("routers", "restart", "--unrecorded")
    own.must("down")
    own.must("up")
    own.must("operations", "list")
