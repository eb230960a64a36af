"""Nobody logs in to their own machine, and who is not logged in elsewhere is told how."""

from pathlib import Path

import pytest

from shardctl.commands.login import login, logout, whoami
from shardctl.errors import NotAllowed, UsageError


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SHARDCTL_CONTEXT", "SHARDCTL_STACK", "SHARDCTL_FLAG_CONTEXT", "SHARDCTL_FLAG_STACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_on_this_machine_the_operating_system_says_who_somebody_is() -> None:
    for command in (login, logout):
        with pytest.raises(UsageError, match=r"the operating system says who you are .*--context NAME"):
            command()


def test_who_is_not_logged_in_is_told_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config" / "cell-brokerage" / "shardctl.toml"
    file.parent.mkdir(parents=True)
    file.write_text(
        '[contexts.away]\nurl = "https://control.example"\nissuer = "https://login.example"\n'
        'client_id = "shardctl"\naudience = "control"\n'
    )
    file.chmod(0o600)
    monkeypatch.setenv("SHARDCTL_CONTEXT", "away")
    with pytest.raises(NotAllowed, match=r"nobody is logged in at https://control\.example.*`shardctl login`"):
        whoami()
    logout()
    assert "nobody was logged in" in capsys.readouterr().out
