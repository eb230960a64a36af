"""The command on a stack that runs: what `up --dry-run` says is what `up` then does; a service that restarts is waited
for; who stops watching is told how to come back; names are completed by a real shell.

One stack of one cell serves the whole file. Processes are killed by the pid that `status` names, never by name.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infra.backends.checkout import project_root
from tests.support.stack import Stack, fresh_stack

pytestmark = pytest.mark.minutes(3)


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with fresh_stack("command", "--cells", "1") as running:
        yield running


def pids(stack: Stack) -> dict[str, int]:
    return {
        row["name"]: row["pid"] for row in stack.status()["processes"] if row["pid"] and row["kind"] != "supervisor"
    }


def recorded(stack: Stack) -> dict[str, str]:
    """What stands beside the data: record, launch files, configuration, keys. Logs and data grow anyway, and the
    control service takes the lock for its own duties."""
    assert stack.state_dir is not None
    folder = stack.state_dir / stack.name
    found = {}
    for path in sorted([*stack.state_dir.glob("*"), *folder.rglob("*")]):
        grows = path.relative_to(stack.state_dir).parts[1:2] in (("data",), ("log",), ("map",))
        if path.is_file() and not grows and path != folder / "run" / "lock":
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns)
    return found


@pytest.mark.parametrize(
    ("options", "verbs"),
    [
        ([], {}),
        (["--routers", "2"], {"router-2": "start"}),
        (
            ["--routers", "1", "--risk-profile", "professional"],
            {"router-2": "stop", "cell-1-api-1": "renew", "cell-1-worker": "renew", "cell-1-relay": "renew"},
        ),
    ],
)
def test_what_is_shown_is_what_is_done(options: list[str], verbs: dict[str, str], own: Stack) -> None:
    before, files = pids(own), recorded(own)
    plan: dict[str, Any] = own.must("up", "--dry-run", "--json", *options).json()
    assert recorded(own) == files
    assert pids(own) == before
    shown = {change["process"]: change["verb"] for change in plan["processes"]}
    assert {name: verb for name, verb in shown.items() if verb != "leave"} == verbs
    whys = {change["process"]: change["why"] for change in plan["processes"]}
    if "cell-1-worker" in verbs:
        assert whys["cell-1-worker"] == "CELL_NEW_USER_PROFILE retail -> professional"

    own.must("up", *options)
    after = pids(own)
    for name, verb in shown.items():
        done = {
            (True, True): "leave" if after.get(name) == before.get(name) else "renew",
            (False, True): "start",
            (True, False): "stop",
        }[name in before, name in after]
        assert done == verb, name
    assert set(after) <= set(shown)


def test_a_killed_process_is_shown_to_be_started(own: Stack) -> None:
    own.must("down")
    plan = own.must("up", "--dry-run", "--json").json()
    assert plan["totals"] == {"start": len(plan["processes"]), "renew": 0, "leave": 0, "stop": 0}
    assert {change["why"] for change in plan["processes"]} == {"the stack does not run"}
    own.must("up")


def test_a_service_that_restarts_is_waited_for(own: Stack) -> None:
    os.kill(pids(own)["control"], signal.SIGKILL)
    listed = own.run("operations", "list", "--json")
    assert listed.exit_code == 0, listed.stderr
    os.kill(pids(own)["control"], signal.SIGKILL)
    planned = own.run("cells", "reconcile", "--all", "--reason", "after a restart")
    assert planned.exit_code == 0, planned.stderr
    assert len(own.must("operations", "list", "--json").json()) == len(listed.json()) + 1


def test_who_does_not_wait_is_told_how_to_come_back(own: Stack) -> None:
    left = own.run("cells", "reconcile", "--all", "--reason", "later", "--timeout", "0")
    assert left.exit_code == 8, left.stderr
    number = own.must("operations", "list", "--json").json()[0]["operation_id"]
    assert f"`shardctl operations watch {number}`" in left.stderr
    assert own.run("operations", "watch", str(number)).exit_code == 0


def test_ctrl_c_while_watching_detaches(own: Stack) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "shardctl", "routers", "restart", "--reason", "try"],
        env=own.shell_environment(),
        cwd=project_root(),
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in the background hands "ignore Ctrl-C" down to whatever it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert watching.stderr is not None
    first = watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    _, rest = watching.communicate(timeout=60)
    assert watching.returncode == 8, first + rest
    number = own.must("operations", "list", "--json").json()[0]["operation_id"]
    assert f"detached; operation {number} goes on: `shardctl operations watch {number}`" in rest
    assert own.run("operations", "watch", str(number)).exit_code == 0


def test_a_shell_completes_names_of_the_running_stack(own: Stack) -> None:
    number = own.must("operations", "list", "--json").json()[0]["operation_id"]

    def offered(*words: str) -> set[str]:
        line = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_SHARDCTL_COMPLETE": "complete_bash"}
        done = replace(own, environment=line).run()
        assert (done.exit_code, done.stderr) == (0, "")
        return set(done.stdout.split())

    assert offered("shardctl", "cells", "summary", "") == {"cell-1"}
    assert str(number) in offered("shardctl", "operations", "watch", "")
    assert {"cell-1-worker", "router-1", "control"} <= offered("shardctl", "logs", "")


def test_settings_of_a_process_tell_their_origin(own: Stack) -> None:
    rows = {row["name"]: row for row in own.must("config", "show", "cell-1-worker", "--json").json()["settings"]}
    assert rows["CELL_NEW_USER_PROFILE"]["value"] == "professional"
    assert rows["CELL_NEW_USER_PROFILE"]["origin"] == "up --risk-profile"
    assert rows["CELL_MARKET_HOURS"]["origin"] == "default of the profile local"
