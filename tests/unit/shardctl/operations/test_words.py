"""What a person at the terminal is told: the exit codes, how an operation ended, what happens next."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from shardctl import errors
from shardctl.cli import make_app
from shardctl.commands import operations, serving, submitting
from shardctl.control_client import ControlClient
from shardctl.errors import MEANINGS, Exit, NotReachable, Refused, ShardctlError, exit_of

STEP = {"position": 1, "key": "renew router-1", "state": "pending", "attempts": 0, "attempts_max": 3, "detail": None}
FOUND: dict[str, Any] = {
    "operation_id": 7, "kind": "routers.restart", "target": "all", "actor": "ann", "reason": "slow", "state": "running",
    "detail": None, "exit_code": None, "steps": [{**STEP, "is_irrevocable": False}],
}  # fmt: skip


def test_every_error_has_a_code_that_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ShardctlError)]
    assert {kind.exit_code for kind in kinds} <= set(Exit)
    done = CliRunner().invoke(make_app(), ["help", "exit-codes"])
    assert done.exit_code == 0
    assert all(str(code) in done.output for code in map(int, Exit))
    assert list(MEANINGS) == list(Exit) == [exit_of(code) for code in range(9)]
    assert exit_of(9) is Exit.FAILED
    rows = json.loads(CliRunner().invoke(make_app(), ["help", "exit-codes", "--json"]).output)
    assert rows[8] == {"code": 8, "name": "goes_on", "means": MEANINGS[Exit.GOES_ON]}


@pytest.mark.parametrize("exit_code", [1, 3, 5, 7])
def test_a_command_ends_with_the_operations_code_and_says_how_to_go_on(exit_code: int) -> None:
    stuck = [{**STEP, "state": "failed", "is_irrevocable": False}]
    ended = {**FOUND, "exit_code": exit_code, "state": "failed", "detail": "it is away", "steps": stuck}
    with pytest.raises(ShardctlError, match="shardctl operations resume 7") as raised:
        submitting.conclude(ended)
    assert raised.value.exit_code == exit_code
    assert Refused.exit_code == 1
    submitting.conclude({**FOUND, "exit_code": 0, "state": "succeeded"})


@pytest.mark.parametrize(
    ("state", "sealed", "words"),
    [
        ("awaiting_approval", False, "operations approve 7"),
        ("running", False, "operations cancel 7"),
        ("running", True, "too late to cancel"),
        ("failed", False, "operations resume 7"),
        ("cancelling", False, "newest first"),
        ("refused", False, "Ask for it again"),
        ("cancelled", False, "nothing is left to do"),
    ],
)
def test_what_happens_next_is_said(state: str, sealed: bool, words: str) -> None:
    step = {**STEP, "is_irrevocable": sealed, "state": "failed", "attempts": 3, "detail": "it is away"}
    lines = operations.explained({**FOUND, "state": state, "steps": [step]})
    assert words in lines[-1]
    assert "asked for by ann: slow." in lines[0]
    assert "(attempt 3 of 3): it is away." in lines[2]


def test_a_service_that_is_not_there_is_named_with_the_next_command(tmp_path: Any) -> None:
    with pytest.raises(NotReachable, match="shardctl logs control"):
        ControlClient(tmp_path / "none.sock").get("/v1/operations")
    assert serving.serve.__doc__
