"""A reason that a cell could not keep is refused before anything is done or recorded, with the limit."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.backends.local.backend import LocalBackend
from infra.security.roles import Role
from infra.security.why import WHY_MAX
from shardctl.backups.restored_users import release_users
from shardctl.backups.unfence import open_restored_cell
from shardctl.cli import make_app
from shardctl.errors import UsageError
from shardctl.operator_tokens import Purpose
from tests.support.control_service import folder_stack

LONG = "x" * (WHY_MAX + 1)
SAID = f"has 1 to {WHY_MAX} characters, not {WHY_MAX + 1}"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """Nothing of it runs: an act that is begun ends with NotReachable, because nobody records it."""
    backend = folder_stack(tmp_path)
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SHARDCTL_STACK", backend.stack)
    return backend


def test_the_limit_is_that_of_the_cells_record() -> None:
    assert Purpose("set_profile", "a user", Role.OPERATOR, "x" * WHY_MAX).reason == "x" * WHY_MAX
    for reason in (LONG, ""):
        with pytest.raises(UsageError, match=f"has 1 to {WHY_MAX} characters, not {len(reason)}"):
            Purpose("set_profile", "a user", Role.OPERATOR, reason)
    with pytest.raises(UsageError, match="no control and no invisible characters"):
        Purpose("set_profile", "a user", Role.OPERATOR, "a\u202eb")


@pytest.mark.parametrize(
    "act",
    [
        lambda stack: open_restored_cell(stack, "cell-1", reason=LONG, despite_findings=False),
        lambda stack: release_users(stack, "cell-1", (), reason=LONG),
    ],
    ids=["unfence", "release-users"],
)
@pytest.mark.anyio
async def test_a_cell_is_not_asked(act: Callable[[LocalBackend], Awaitable[object]], stack: LocalBackend) -> None:
    with pytest.raises(UsageError, match=SAID):
        await act(stack)


@pytest.mark.parametrize(
    "words", ["cells retry-report cell-1 7", f"exchange load-tape {__file__} --symbol A --run one"]
)
def test_a_command_says_the_limit(words: str, stack: LocalBackend) -> None:
    done = CliRunner().invoke(make_app(), [*words.split(), "--reason", LONG])
    assert isinstance(done.exception, UsageError)
    assert SAID in str(done.exception)
