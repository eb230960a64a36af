"""A stack's life as an operator sees it: up, twice up, killed processes, a killed supervisor, a further cell, down.

One stack of one cell serves the whole file. Processes are killed by the pid that `status` names, never by name.
"""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from tests.support.stack import Stack, fresh_stack

pytestmark = pytest.mark.minutes(5)

REPAIR_LIMIT_S = 90.0
"""For ten processes that were killed at once, on a machine that other tests keep busy: thirty were too few there."""
PAUSE_S = 0.3


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with fresh_stack("lifecycle", "--cells", "1") as running:
        yield running


def rows(stack: Stack) -> dict[str, Any]:
    return {row["name"]: row for row in stack.status()["processes"]}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def await_healthy(stack: Stack) -> dict[str, Any]:
    """Until every process runs, then until the doctor finds nothing (each answers as ready)."""
    deadline = time.monotonic() + REPAIR_LIMIT_S
    while stack.status()["state"] != "running":
        assert time.monotonic() < deadline, stack.status()
        time.sleep(PAUSE_S)
    while (done := stack.run("doctor", "--json")).exit_code != 0:
        assert time.monotonic() < deadline, done.stdout
        time.sleep(PAUSE_S)
    return rows(stack)


def test_up_starts_everything_and_says_where(own: Stack) -> None:
    status = own.status()
    assert status["state"] == "running"
    kinds = [row["kind"] for row in status["processes"]]
    for kind in ("supervisor", "postgres", "redis", "kafka", "exchange", "router", "api", "worker", "relay"):
        assert kind in kinds
    assert all(row["rss_bytes"] > 0 and row["uptime_s"] >= 0 for row in status["processes"])
    environment = own.env()
    assert environment["ROUTER_URL"].startswith("http://127.0.0.1:")
    assert set(environment) >= {
        "CONTROL_DSN", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "EXCHANGE_ADDRESS",
        "CELL_1_API_URL", "CELL_1_OPERATOR_URL", "CELL_1_DSN",
    }  # fmt: skip


def test_up_twice_is_harmless(own: Stack) -> None:
    before = {name: row["pid"] for name, row in rows(own).items()}
    own.must("up", "--wait")
    assert {name: row["pid"] for name, row in rows(own).items()} == before


@pytest.mark.parametrize("name", ["CELL_1_DSN", "CONTROL_DSN"])
def test_the_printed_dsn_reads_and_changes_nothing(own: Stack, name: str) -> None:
    with psycopg.connect(own.env()[name], autocommit=True) as connection:
        schema = "brokerage" if name == "CELL_1_DSN" else "control"
        connection.execute("set default_transaction_read_only = off")
        callable_by_us = connection.execute(
            "select count(*) from pg_proc join pg_namespace n on n.oid = pronamespace"
            " where (nspname = %s or nspname like 'code\\_%%') and has_function_privilege(pg_proc.oid, 'execute')",
            [schema],
        ).fetchone()
        assert callable_by_us == (0,)
        readable = connection.execute(
            "select bool_and(has_any_column_privilege(c.oid, 'select')) from pg_class c join pg_namespace n"
            " on n.oid = relnamespace where nspname = %s and relkind in ('r', 'p')",
            [schema],
        ).fetchone()
        assert readable == (True,)
        secret = "brokerage.customers" if name == "CELL_1_DSN" else "control.email_claims"
        for statement in (
            "create table public.x (a int)",
            "create temporary table x (a int)",
            "select lo_create(0)",
            "select pg_try_advisory_lock(1)",
            f"select x from {secret} x",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_killed_process_of_any_kind_comes_back(own: Stack) -> None:
    before = rows(own)
    victims = {name: row["pid"] for name, row in before.items() if row["kind"] != "supervisor"}
    for pid in victims.values():
        kill(pid)
    after = await_healthy(own)
    assert all(after[name]["pid"] not in (None, pid) for name, pid in victims.items())
    assert after["supervisor"]["pid"] == before["supervisor"]["pid"]


def test_a_killed_supervisor_leaves_orphans_that_up_ends(own: Stack) -> None:
    before = rows(own)
    kill(before["supervisor"]["pid"])
    assert own.status()["state"] == "stopped"
    orphans = [psutil.Process(row["pid"]) for row in before.values() if row["kind"] != "supervisor"]
    assert all(orphan.is_running() for orphan in orphans)
    own.must("up", "--wait")
    assert not any(orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE for orphan in orphans)
    after = await_healthy(own)
    assert {name: row["port"] for name, row in after.items()} == {name: row["port"] for name, row in before.items()}


def test_a_second_stack_runs_beside_and_a_killed_one_is_cleaned_by_down(own: Stack) -> None:
    with fresh_stack("beside", "--cells", "1", "--no-wait") as beside:
        ports = [row["port"] for stack in (own, beside) for row in stack.status()["processes"] if row["port"]]
        assert len(ports) == len(set(ports))
        running = [row["pid"] for row in beside.status()["processes"] if row["pid"]]
        kill(rows(beside)["supervisor"]["pid"])
        beside.must("down", "--delete-data", "--yes")
        assert not [pid for pid in running if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        assert beside.state_dir is not None
        assert list(beside.state_dir.iterdir()) == []
    assert own.status()["state"] == "running"


def test_a_further_cell_joins_and_nothing_moves(own: Stack) -> None:
    [before] = own.must("cells", "list", "--json").json()
    own.must("cells", "add", "--reason", "a drill")
    first, second = own.must("cells", "list", "--json").json()
    assert first == before
    assert (second["cell"], second["buckets"]) == ("cell-2", before["buckets"])
    assert own.must("cells", "check", "cell-2", "--json").json()["healthy"]
    assert own.must("cells", "summary", "cell-2", "--json").json()["users"] == 0


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("up", "--cells", "0"), 1),
        (("up", "--cells", "1"), 1),
        (("up", "--cells", "many"), 2),
        (("cells", "add", "Not_A_Cell", "--reason", "a drill"), 2),
        (("cells", "summary", "cell-9"), 1),
        (("logs", "no-such-process"), 1),
        (("logs", "../secrets/passwords"), 1),
        (("--stack", "no-such-stack", "status"), 3),
        (("--stack", "../escape", "status"), 2),
        (("down", "--delete-data"), 5),
    ],
)
def test_exit_codes(own: Stack, arguments: tuple[str, ...], exit_code: int) -> None:
    done = own.run(*arguments)
    assert done.exit_code == exit_code, done.stderr
    assert "Traceback" not in done.stderr


def test_logs_are_shown(own: Stack) -> None:
    assert "database system is ready to accept connections" in own.must("logs", "cell-1-postgres", "-n", "1000").stdout
    assert "cell-1-postgres" in own.must("logs").stdout


def test_a_stopped_stack_keeps_its_data_and_ports(own: Stack) -> None:
    before = rows(own)
    epoch = own.must("cells", "list", "--json").json()
    own.must("down")
    assert own.status()["state"] == "stopped"
    own.must("up", "--wait")
    assert {name: row["port"] for name, row in rows(own).items()} == {name: row["port"] for name, row in before.items()}
    assert own.must("cells", "list", "--json").json() == epoch
