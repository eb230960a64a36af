"""Which stack, where, and who: from the environment, with defaults that hold for one checkout."""

import getpass
from pathlib import Path

import pytest

from infra.backends.checkout import default_stack_name
from shardctl.errors import NotReachable, UsageError
from shardctl.settings import ShardctlSettings
from shardctl.stack.current import actor, open_backend, open_stack


def test_the_environment_chooses_the_stack_and_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SHARDCTL_STACK", raising=False)
    assert ShardctlSettings().stack_name == default_stack_name()
    monkeypatch.setenv("SHARDCTL_STACK", "mine")
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path))
    backend = open_backend()
    assert (backend.stack, backend.location) == ("mine", str(tmp_path / "mine"))
    with pytest.raises(NotReachable, match="`shardctl up`"):
        open_stack()


@pytest.mark.parametrize("name", ["Mine", "../x", "-x", "x" * 41, "a b", "ä"])
def test_a_name_that_is_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SHARDCTL_STACK", name)
    with pytest.raises(UsageError, match="is not a stack name"):
        open_backend()


def test_the_actor_is_the_setting_or_the_systems_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHARDCTL_ACTOR", raising=False)
    monkeypatch.setenv("LOGNAME", "bob")
    assert actor() == getpass.getuser() == "bob"
    monkeypatch.setenv("SHARDCTL_ACTOR", "ann")
    assert actor() == "ann"
