"""The demo tells the truth: it ends green, and says what is wrong otherwise."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from infra.backends.checkout import project_root
from loadtests.__main__ import app
from loadtests.client import RouterClient
from tests.support.stack import Stack

DEMO_S_MAX = 150.0


def run_loadtests(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ROUTER_URL"}
    environment |= {**stack.environment, "SHARDCTL_STACK": stack.name}
    if stack.state_dir is not None:
        environment["SHARDCTL_STATE_DIR"] = str(stack.state_dir)
    return subprocess.run(
        [sys.executable, "-m", "loadtests", *arguments],
        env=environment,
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=DEMO_S_MAX,
    )


def test_the_demo_ends_green(stack: Stack) -> None:
    done = run_loadtests(stack, "demo", "--customers", "24", "--orders", "240", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The books balance." in done.stdout
    assert "chain verifies" in done.stdout
    assert "order events in Kafka = database" in done.stdout


def test_a_router_that_is_not_there_is_said_and_not_waited_for_for_ever(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.shell_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(RouterClient.must_answer, "__defaults__", (0.5,))  # seconds; a person is given ten
    done = CliRunner().invoke(app, ["demo", "--customers", "2", "--orders", "2", "--router", "http://127.0.0.1:9"])
    assert done.exit_code == 3
    assert "http://127.0.0.1:9 does not answer" in done.output
