"""What would be done to each process, and why; no secret in it."""

import pytest

from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.backends.preview import MASK, Running, Verb, masked, preview_changes

ROUTER = ProcessSpec("router-1", ProcessKind.ROUTER, ("python", "-m", "router"), environment={"A": "1", "B": "2"})
API = ProcessSpec("cell-1-api-1", ProcessKind.API, ("python", "-m", "cell"), cell="cell-1")


def changes(running: dict[str, Running], absent: dict[str, str] | None = None) -> dict[str, tuple[Verb, str]]:
    found = preview_changes((API, ROUTER), running, absent or {})
    return {change.process: (change.verb, change.why) for change in found}


def test_who_does_not_run_is_started_and_why() -> None:
    assert changes({}) == {"cell-1-api-1": (Verb.START, "is new"), "router-1": (Verb.START, "is new")}
    assert changes({}, {"router-1": "does not run: fatal"})["router-1"] == (Verb.START, "does not run: fatal")


def test_who_runs_as_planned_is_left_and_who_is_not_planned_stops() -> None:
    same = Running(ProcessKind.ROUTER, False, ROUTER.environment, ROUTER.command)
    found = changes({"router-1": same, "router-2": same})
    assert found["router-1"] == (Verb.LEAVE, "runs as planned")
    assert found["router-2"] == (Verb.STOP, "the stack has it no more")
    assert list(found) == ["cell-1-api-1", "router-1", "router-2"]


def test_who_runs_otherwise_is_renewed_and_what_differs_is_said() -> None:
    other = Running(ProcessKind.ROUTER, True, {"A": "0", "C": "", "D": "x", "E": "y"}, ROUTER.command)
    assert changes({"router-1": other})["router-1"] == (
        Verb.RENEW, "A 0 -> 1, B (not set) -> 2, C (empty) -> (not set), and 2 more"
    )  # fmt: skip
    command = Running(ProcessKind.ROUTER, True, ROUTER.environment, ("python3",))
    assert changes({"router-1": command})["router-1"][1] == "another command line"
    unknown = Running(ProcessKind.ROUTER, True)
    assert changes({"router-1": unknown})["router-1"][1] == "runs with another command or other settings"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("CELL_POSTGRES__DSN", "host=x password=hunter2 user=y", f"host=x password={MASK} user=y"),
        ("CELL_POSTGRES__DSN", "host=x password = 'a b\\'c' user=y", f"host=x password = {MASK} user=y"),
        ("DSN", "postgresql://u:hunter2@h:1/d?x=1", f"postgresql://u:{MASK}@h:1/d?x=1"),
        ("ROUTER_REDIS__URL", "redis://:hunter2@h:6379/0", f"redis://:{MASK}@h:6379/0"),
        ("ROUTER_REDIS__URL", "redis://h:6379/0", "redis://h:6379/0"),
        ("X_PASSWORD", "hunter2", MASK),
        ("X_SECRET_KEY", "hunter2", MASK),
        ("X_TOKEN_FILE", "/run/token", "/run/token"),
        ("DSN", "passfile=/secrets/pgpass", "passfile=/secrets/pgpass"),
        ("X", "http://[broken", "http://[broken"),
    ],
)
def test_secrets_are_masked(name: str, value: str, shown: str) -> None:
    assert masked(name, value) == shown
