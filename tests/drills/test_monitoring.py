"""A watched stack: every query runs on a real Prometheus that scrapes real processes, and `/api/v1/alerts` shows what
an operator provokes by hand: a relay frozen, a worker stopped, a process killed four times, a report in quarantine.

One stack of one cell, scraped every second, with alerts that hold for a second at most.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.backends.checkout import project_root
from infra.backends.local.prometheus import PACE_VARIABLE
from infra.backends.local.supervisor import SupervisorClient
from monitoring.alerts import GROUPS
from monitoring.dashboards import DASHBOARDS
from tests.support.operator_tokens import bearer
from tests.support.outside_tools import outside_tool
from tests.support.prometheus import Prometheus
from tests.support.stack import Stack, fresh_stack

pytestmark = pytest.mark.minutes(4)

OF_SPEED = {"OrdersSlow", "OrdersVerySlow", "RequestsFailing", "RequestsFailingSlowly", "RequestsShed", "EventLoopLate"}
OF_SPEED |= {"VenueSlow", "DatabaseLockHeld", "InboxBehind", "OutboxBehind"}
"""A machine that is busy with other things makes these fire, and rightly."""
TRADES = ("--customers", "8", "--orders", "60")


@pytest.fixture(scope="module")
def watched() -> Iterator[Stack]:
    outside_tool("prometheus", for_what="watches a stack")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(PACE_VARIABLE, "1")
        with fresh_stack("monitoring", "--cells", "1", "--monitoring") as stack:
            yield stack


@pytest.fixture(scope="module")
def eye(watched: Stack) -> Prometheus:
    return Prometheus(watched.env()["PROMETHEUS_URL"])


def ours(stack: Stack) -> set[str]:
    return {row["name"] for row in stack.status()["processes"] if row["operator_port"]}


def pid_of(stack: Stack, name: str) -> int:
    return int(stack.process(name)["pid"])


def operate_exchange(stack: Stack, path: str, body: object) -> None:
    known = bearer(stack.folder.keys, "exchange", "POST", path, subject="dana")
    request = urllib.request.Request(
        stack.env()["EXCHANGE_OPERATOR_URL"] + path,
        json.dumps(body).encode(),
        {**known, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def trade(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", "demo", *TRADES],
        env=stack.shell_environment(),
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_status_and_doctor_know_it(watched: Stack, eye: Prometheus) -> None:
    row = watched.process("prometheus")
    assert (row["kind"], row["state"]) == ("prometheus", "running")
    findings = watched.run("doctor", "--json").json()
    assert any("prometheus" in json.dumps(finding) for finding in findings)
    eye.await_targets(ours(watched))


def test_every_query_runs_and_shows_something(watched: Stack, eye: Prometheus) -> None:
    """After some trading, every panel has a series, but for those that count what should not happen."""
    trade(watched)
    watched.must("cells", "check", "cell-1")
    counted = watched.must("cells", "rollups", "cell-1", "--json").json()
    summary = watched.must("cells", "summary", "cell-1", "--json").json()
    assert sum(minute["orders"] for minute in counted["minutes"]) == sum(summary["orders_by_status"].values()) > 0
    assert sum(minute["fills"] for minute in counted["minutes"]) == summary["executions"]
    assert counted["symbols"][0]["symbol"] in watched.must("cells", "rollups", "cell-1").stdout
    eye.await_targets(ours(watched))
    for alerts in GROUPS.values():
        for alert in alerts:
            eye.query(alert.query)
    empty = {}
    for dashboard in DASHBOARDS:
        for title, promql in dashboard.queries():
            filled = promql.replace("$__rate_interval", "1m").replace("$cell", ".*")
            if not eye.query(filled):
                empty[f"{dashboard.title}: {title}"] = promql
    unlucky = ("deferred", "split", "resent", "quarantine", "refusals_total", "5xx")
    assert {title: query for title, query in empty.items() if not any(word in query for word in unlucky)} == {}
    rules = {rule["name"] for group in eye.ask("rules")["groups"] for rule in group["rules"]}
    assert rules == {alert.name for alerts in GROUPS.values() for alert in alerts}


def test_a_quiet_stack_wakes_nobody(watched: Stack, eye: Prometheus) -> None:
    watched.must("cells", "check", "cell-1")
    eye.await_that(lambda: {name for name, _ in eye.firing()} <= OF_SPEED, "nothing fires but what tells of speed")


def test_a_frozen_relay_is_noticed_and_so_is_its_return(watched: Stack, eye: Prometheus) -> None:
    pid = pid_of(watched, "cell-1-relay")
    os.kill(pid, signal.SIGSTOP)
    try:
        eye.await_firing(("RelayLeaderless", "cell-1"), ("ProcessDown", "cell-1-relay"))
    finally:
        os.kill(pid, signal.SIGCONT)
    eye.await_quiet(("RelayLeaderless", "cell-1"), ("ProcessDown", "cell-1-relay"))


def test_a_stopped_worker_is_noticed_and_so_is_its_return(watched: Stack, eye: Prometheus) -> None:
    supervisor = SupervisorClient(watched.folder.supervisor_socket)
    asyncio.run(supervisor.stop("cell-1-worker", wait=True))
    eye.await_firing(("WorkerLeaderless", "cell-1"), ("ProcessDown", "cell-1-worker"))
    watched.must("up", "--wait")
    eye.await_quiet(("WorkerLeaderless", "cell-1"), ("ProcessDown", "cell-1-worker"))


def test_a_quarantined_report_is_noticed(watched: Stack, eye: Prometheus) -> None:
    operate_exchange(watched, "/operator/v1/faults", {"unknown_fill": True})
    eye.await_firing(("ReportsQuarantined", "cell-1-worker"))


def test_a_process_that_dies_again_and_again_is_noticed(watched: Stack, eye: Prometheus) -> None:
    for _ in range(4):  # the supervisor starts it again
        before = starts(eye)
        os.kill(pid_of(watched, "cell-1-relay"), signal.SIGKILL)
        await_restart(eye, before)
    eye.await_firing(("ProcessRestarting", "cell-1-relay"))


def await_restart(eye: Prometheus, before: list[Any]) -> None:
    eye.await_that(lambda: starts(eye) not in ([], before), "the relay has started again")


def starts(eye: Prometheus) -> list[Any]:
    return [row["value"][1] for row in eye.query('process_start_time_seconds{process="cell-1-relay"}')]


def test_without_the_program_a_stack_runs_unwatched_and_says_how_to_get_it(
    watched: Stack, eye: Prometheus, tmp_path: Path
) -> None:
    poor = replace(watched, environment={"PATH": str(tmp_path)})
    done = poor.must("up", "--wait")
    assert "unwatched" in done.stderr
    assert poor.process("prometheus") is None
    assert all(row["state"] == "running" for row in poor.status()["processes"])
    assert "apt-get install prometheus" in poor.run("doctor", "--json").stdout
    watched.must("up", "--wait")
    eye.await_targets(ours(watched))


def test_a_new_cell_is_watched_within_seconds(watched: Stack, eye: Prometheus) -> None:
    watched.must("cells", "add", "--reason", "a drill")
    found = ours(watched)
    assert "cell-2-worker" in found
    eye.await_targets(found)
