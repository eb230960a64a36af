"""Backups, restores and rehearsals are killed with SIGKILL at each of their steps, and the servers under them.

Whatever was killed, twice in a row: what is listed as a backup is whole, what was half is gone, no process and no
folder is left, the cell that is copied notices nothing, and what is begun again comes to its end. Each kill is known to
have met its step; of those at a random moment one at least must have met the middle. One stack of one cell serves the
file. About four minutes.
"""

import asyncio
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.backends.checkout import project_root
from infra.backends.local import backups, restores
from infra.backends.local.backup_lock import marks_of
from infra.backends.local.folders import StackFolder
from infra.backends.local.orphans import find_marked
from loadtests.client import RouterClient
from shardctl.backups import restore
from tests.support.drill_seed import drill_seed
from tests.support.persistent_control import PersistentControl
from tests.support.stack import Stack, fresh_stack
from tests.support.windows import Windows

CELL = "cell-1"
SERVER = f"{CELL}-postgres"
LIMIT_S = 120.0
KILLED = -signal.SIGKILL
CREATE = (backups.ARCHIVED, backups.COPIED, backups.VERIFIED, backups.NOTED)
REHEARSE = (restores.REHEARSAL_BUILT, restores.REHEARSAL_RECOVERED, restores.REHEARSAL_PROVEN)
UNDECIDED = (
    restore.WITHDRAWN, restores.RESTORE_BUILT, restores.RESTORE_RECOVERED, restores.RESTORE_FENCED,
)  # fmt: skip

pytestmark = [pytest.mark.anyio, pytest.mark.soak]


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """Of the control service, closed."""
    return Windows(tmp_path_factory.mktemp("windows"), (*CREATE, *REHEARSE))


@pytest.fixture(scope="module")
def own(windows: Windows) -> Iterator[Stack]:
    environment = {"FAULT_POINTS": windows.fault_points}
    with fresh_stack("backup-kills", "--cells", "1", environment=environment) as running:
        asyncio.run(trade(running))
        running.must("backup", "create", "--cell", CELL, "--reason", "drill")
        yield running


async def trade(stack: Stack) -> None:
    async with RouterClient(stack.env()["ROUTER_URL"]) as router:
        for _ in range(3):
            customer = await router.sign_up(f"{secrets.token_hex(6)}@customers.example", "correct horse battery")
            await customer.deposit(10_000_000_000)
            await customer.place({"symbol": "AAPL", "side": "buy", "type": "market", "qty": "1"})


@pytest.fixture
def folder(own: Stack) -> StackFolder:
    return own.folder


def killed_at(own: Stack, point: str) -> Stack:
    """Its commands die there."""
    return replace(own, environment={"FAULT_POINTS": f"{point}=kill"})


def labels(own: Stack) -> list[str]:
    return [row["label"] for row in own.must("backup", "list", "--json").json()]


def books(own: Stack) -> list[tuple[Any, ...]]:
    with psycopg.connect(own.env()["CELL_1_DSN"]) as reader:
        query = "select user_id, write_seq, chain_head from brokerage.users order by user_id"
        return reader.execute(query).fetchall()


def left(folder: StackFolder) -> list[object]:
    """Processes and folders that nobody looks after."""
    [(variable, value)] = marks_of(folder, SERVER).items()
    hidden = [*folder.backups(SERVER).glob(".*"), *folder.data("").glob(f".{SERVER}.re[hs]*")]
    return [*find_marked(variable, value), *(path for path in hidden if not path.name.endswith(".restored"))]


def await_nothing_left(folder: StackFolder) -> None:
    """The control service removes it, without another command."""
    until_s = time.monotonic() + LIMIT_S
    while found := left(folder):
        assert time.monotonic() < until_s, found
        time.sleep(0.2)


@pytest.mark.parametrize("point", CREATE)
def test_a_backup_is_killed_twice_at_each_step(own: Stack, folder: StackFolder, point: str) -> None:
    before, known, pid = books(own), labels(own), own.process(SERVER)["pid"]
    for _ in range(2):
        done = killed_at(own, point).run("backup", "create", "--cell", CELL)
        assert done.exit_code == KILLED, done.stderr
        assert labels(own) == known, "half a backup is none"
    await_nothing_left(folder)
    assert (books(own), own.process(SERVER)["pid"]) == (before, pid)
    own.must("backup", "create", "--cell", CELL, "--incremental")
    assert len(labels(own)) == len(known) + 1
    own.must("backup", "verify", labels(own)[-1])


def test_a_backup_is_killed_at_any_moment(own: Stack, folder: StackFolder) -> None:
    """Also inside the tools, whose processes go on without their command."""
    seed = drill_seed()
    print(f"seed {seed}")
    pauses, known = random.Random(seed), labels(own)
    for _ in range(4):
        process = begin(own, "backup", "create", "--cell", CELL)
        time.sleep(pauses.uniform(0.5, 2.5))
        process.kill()
        process.wait()
    await_nothing_left(folder)
    whole = [label for label in labels(own) if label not in known]
    own.must("backup", "verify")
    assert len(whole) < 4, "none was killed in the middle"
    own.must("backup", "create", "--cell", CELL)


def begin(own: Stack, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "shardctl", *arguments]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=own.shell_environment(), cwd=project_root(), stdout=quiet, stderr=quiet)


def test_the_server_dies_under_its_backup(own: Stack, folder: StackFolder) -> None:
    known, pid = labels(own), int(own.process(SERVER)["pid"])
    stalled = replace(own, environment={"FAULT_POINTS": f"{backups.COPIED}=stall:3"})
    process = begin(stalled, "backup", "create", "--cell", CELL)
    await_seen("the backup has begun", lambda: bool(list(folder.backups(SERVER).glob(".*"))))
    os.kill(pid, signal.SIGKILL)
    code = process.wait(LIMIT_S)
    assert code in (0, 1), "it failed and said so, or the server was back in time"
    await_nothing_left(folder)
    assert len(labels(own)) == len(known) + (code == 0)
    own.must("backup", "verify")
    await_seen(
        "supervisord starts the server again", lambda: own.run("backup", "create", "--cell", CELL).exit_code == 0
    )


def await_seen(what: str, seen: Callable[[], bool]) -> None:
    until_s = time.monotonic() + LIMIT_S
    while not seen():
        assert time.monotonic() < until_s, what
        time.sleep(0.02)


def begin_operation(control: PersistentControl, kind: str, arguments: dict[str, Any]) -> int:
    body = {"kind": kind, "arguments": arguments, "idempotency_key": secrets.token_hex(8), "reason": "drill"}
    return int(control.post("/v1/operations", body)["operation_id"])


@pytest.mark.parametrize(
    ("kind", "point"),
    [*(("backup.create", point) for point in CREATE[1:]), *(("backup.rehearse", point) for point in REHEARSE)],
)
async def test_the_service_is_killed_twice_at_each_step(
    own: Stack, folder: StackFolder, windows: Windows, kind: str, point: str
) -> None:
    before, known, control = books(own), labels(own), PersistentControl(folder.control_socket)
    windows.open(point)
    number = begin_operation(control, kind, {"of" if kind == "backup.create" else "cell": CELL})
    await windows.met(point, LIMIT_S)  # behind jobs that start four interpreters, on a busy machine
    windows.open(point)
    await windows.met(point, LIMIT_S)  # behind jobs that start four interpreters, on a busy machine
    found = control.ended(number)
    assert (found["state"], found["steps"][0]["attempts"] >= 3) == ("succeeded", True), found
    await_nothing_left(folder)
    assert books(own) == before
    added = [label for label in labels(own) if label not in known]
    assert added == ([found["steps"][0]["result"]["label"]] if kind == "backup.create" else [])
    if kind == "backup.rehearse":
        result = found["steps"][0]["result"]
        assert result["findings"] == []
        assert result["source"]["equal"] == result["source"]["users"] == len(before)
        assert result["events"]["asked"]


def test_the_server_of_a_rehearsal_dies(own: Stack, folder: StackFolder) -> None:
    control = PersistentControl(folder.control_socket)
    number = begin_operation(control, "backup.rehearse", {"cell": CELL})
    pid_file = folder.data(f".{SERVER}.rehearsal") / "postmaster.pid"
    await_seen("the copy's server", lambda: len(read(pid_file).splitlines()) > 1)
    os.kill(int(read(pid_file).splitlines()[0]), signal.SIGKILL)
    assert control.ended(number)["state"] == "succeeded"
    await_nothing_left(folder)


def read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


async def test_a_restore_is_killed_at_each_step_and_begun_again(own: Stack, folder: StackFolder) -> None:
    async with RouterClient(own.env()["ROUTER_URL"]) as router:
        customer = await router.sign_up(f"{secrets.token_hex(6)}@customers.example", "correct horse battery")
        await customer.deposit(1_000_000)
        moment = datetime.now(UTC)
        await customer.deposit(2_000_000)
    told = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    arguments = ("backup", "restore", "--cell", CELL, "--to", told, "--reason", "drill", "--yes", "--json")

    def killed(point: str) -> None:
        done = killed_at(own, point).run(*arguments)
        assert done.exit_code == KILLED, done.stderr

    for point in UNDECIDED:
        for _ in range(2):
            killed(point)
            await_nothing_left(folder)
            assert not list(folder.data("").glob(f"{SERVER}.before-*")), "the source was not touched"
    own.must("up", "--wait")
    assert amounts(own)[-2:] == [1_000_000, 2_000_000], "as it was"
    killed(restores.RESTORE_DECIDED)
    decided = own.must(*arguments).json()
    assert decided["covered_from"], "the repeated command finished what was decided, and archives it"
    assert amounts(own)[-1] == 1_000_000
    assert len(list(folder.data("").glob(f"{SERVER}.before-*"))) == 1, "restored once"
    killed(restore.PLACED)
    killed(restore.STARTED)
    again = own.must(*arguments).json()
    assert again["incarnation"] != decided["incarnation"]
    assert amounts(own)[-1] == 1_000_000
    await_nothing_left(folder)
    assert own.must("cells", "check", CELL, "--json").json()["healthy"]
    own.must("backup", "rehearse", CELL)


def amounts(own: Stack) -> list[int]:
    """Of all deposits, in order of time."""
    with psycopg.connect(own.env()["CELL_1_DSN"]) as reader:
        query = "select d.amount_micros from brokerage.deposits d order by d.at"
        return [amount for (amount,) in reader.execute(query).fetchall()]
