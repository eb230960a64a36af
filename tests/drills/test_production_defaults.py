"""The acceptance suite on production's settings: hours, risk profile, limits, and transfers that wait for approval.

The stack is a rehearsal: production's settings to the last, on a clock that is put into a session. Stacks that
live and die (`test_stack_lifecycle.py`, `test_routers.py`) are the same there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from infra.backends.checkout import project_root
from loadtests.client import RouterClient, new_key
from tests.support.stack import Stack, fresh_stack

pytestmark = pytest.mark.minutes(4)

IN_SESSION = datetime(2026, 11, 25, 14, 45, tzinfo=UTC)
"""A quarter of an hour after an open: six hours are left."""
SUITE_S_MAX = 1_200.0


@pytest.fixture(scope="module")
def production() -> Iterator[Stack]:
    offset_s = (IN_SESSION - datetime.now(UTC)).total_seconds()
    with fresh_stack("production", "--profile", "rehearsal", "--clock-offset", f"{offset_s:.3f}") as stack:
        yield stack


@pytest.mark.anyio
async def test_a_transfer_waits_until_the_operators_command_decides(production: Stack) -> None:
    async with RouterClient(production.env()["ROUTER_URL"]) as router:
        customer = await router.sign_up(f"{new_key()}@example.com", "correct horse battery")
        (first,) = await customer.bring_shares("AAPL", 5_000_000, 90_000_000)
        (second,) = await customer.bring_shares("AAPL", 7_000_000, 90_000_000)
        user = str(customer.user_id)
        waiting = production.must("transfers", "list", "--json").json()
        assert {row["transfer_id"] for row in waiting if row["user_id"] == user} >= {first, second}
        cell = next(row["cell"] for row in waiting if row["user_id"] == user)
        done = production.must("transfers", "approve", user, first, "--reason", "the agent confirmed", "--json").json()
        assert (done["status"], done["changed"], done["reason"]) == ("accepted", True, "the agent confirmed")
        again = production.must("transfers", "approve", user, first, "--reason", "again", "--json").json()
        assert again == {**done, "changed": False}
        refused = production.run("transfers", "refuse", user, first, "--reason", "a mistake")
        assert refused.exit_code == 1
        assert "TRANSFER_DECIDED" in refused.stderr
        assert production.must("transfers", "refuse", user, second, "--reason", "not theirs").exit_code == 0
        assert production.run("transfers", "approve", user, "nonsense", "--reason", "x").exit_code == 2
        assert production.run("transfers", "list", "cell-77").exit_code == 2
        assert production.run("transfers", "approve", user, second).exit_code == 2, "a reason is kept"
        answer = await customer.call({200}, "GET", "/v1/positions")
        assert [(item["symbol"], item["qty"]) for item in answer.body["items"]] == [("AAPL", "5.000000")]
        listed = await customer.call({200}, "GET", "/v1/share-transfers")
        assert [(item["transfer_id"], item["status"]) for item in listed.body["items"]] == [
            (second, "refused"), (first, "accepted"),
        ]  # fmt: skip
    assert json.loads(production.must("transfers", "list", cell, "--json").stdout) == [
        row for row in waiting if row["cell"] == cell and row["transfer_id"] not in (first, second)
    ]
    production.must("cells", "check", cell)


def test_the_acceptance_suite_passes(production: Stack) -> None:
    environment = {**os.environ, "STACK": production.name, "SHARDCTL_STATE_DIR": str(production.state_dir)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/acceptance", "-q", "-p", "no:cacheprovider"],
        env=environment, cwd=project_root(), capture_output=True, text=True, timeout=SUITE_S_MAX,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
