"""What a command works on: flag, environment, the checkout's file, the person's, default; each with its origin."""

import os
import pwd
from pathlib import Path

import pytest

from infra.backends.checkout import default_stack_name
from shardctl.contexts import Elsewhere, SettingsInvalid
from shardctl.errors import NotReachable, UsageError
from shardctl.persons import name_of_user, os_user
from shardctl.settings import ShardctlSettings, read_settings
from shardctl.stack.current import open_backend, open_stack

CONTEXTS = """\
[contexts.mine]
stack = "mine"
state_dir = "/context"

[contexts.prod]
url = "https://control.example"
issuer = "https://login.example"
client_id = "c"
audience = "a"
"""


class Files:
    """The files of a checkout and of a person, and what the command makes of them."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / ".shardctl.toml"
        self.person = folder / "cell-brokerage" / "shardctl.toml"
        self.person.parent.mkdir()
        self.person.write_text(CONTEXTS)
        self._environment = {"XDG_CONFIG_HOME": str(folder)}

    def read(self, **variables: str) -> ShardctlSettings:
        given = {f"SHARDCTL_{name}": value for name, value in variables.items()}
        return read_settings({**self._environment, **given}, self.project)

    def current(self, name: str) -> None:
        self.person.write_text(f'current = "{name}"\n{CONTEXTS}')


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def found(settings: ShardctlSettings, name: str) -> tuple[str, str]:
    return settings.values[name].value, settings.values[name].origin


def test_nothing_said_is_the_stack_of_this_checkout(files: Files) -> None:
    settings = files.read()
    assert found(settings, "stack") == (default_stack_name(), "default")
    assert (settings.context.value, settings.context.origin) == ("checkout", "default")
    assert (settings.stack_name, settings.backend) == (default_stack_name(), "")


def test_the_nearer_one_counts(files: Files) -> None:
    files.current("mine")
    assert found(files.read(), "stack") == ("mine", f"{files.person}:2")
    assert found(files.read(), "state_dir") == ("/context", f"{files.person}:2")
    files.project.write_text('# ours\nstack = "ours"\n')
    assert found(files.read(), "stack") == ("ours", f"{files.project}:2")
    assert found(files.read(STACK="env"), "stack") == ("env", "SHARDCTL_STACK")
    assert found(files.read(STACK="env", FLAG_STACK="flag"), "stack") == ("flag", "--stack")
    assert files.read(STACK="env", FLAG_CONTEXT="checkout").stack_name == default_stack_name()
    assert files.read(CONTEXT="checkout").stack_name == default_stack_name()


def test_a_nearer_stack_puts_a_context_aside_whole(files: Files) -> None:
    files.current("mine")
    settings = files.read(STACK="other")
    assert settings.context.value == ""
    assert found(settings, "state_dir")[1] == "default"


def test_what_a_context_says_counts_where_it_was_chosen(files: Files) -> None:
    assert found(files.read(FLAG_CONTEXT="mine", STATE_DIR="/env"), "state_dir")[0] == "/context"
    assert found(files.read(CONTEXT="mine", STATE_DIR="/env"), "state_dir") == ("/env", "SHARDCTL_STATE_DIR")
    files.project.write_text('context = "mine"\nbackend = "b"\n')
    assert found(files.read(STATE_DIR="/env"), "state_dir")[0] == "/env"
    assert found(files.read(), "state_dir")[0] == "/context"
    assert found(files.read(), "backend") == ("b", f"{files.project}:2")
    assert files.read(FLAG_CONTEXT="mine").backend == "b"


def test_two_that_say_what_is_meant_at_one_level_are_refused(files: Files) -> None:
    with pytest.raises(UsageError, match="--context and --stack both"):
        files.read(FLAG_CONTEXT="mine", FLAG_STACK="x")
    with pytest.raises(UsageError, match="SHARDCTL_CONTEXT and SHARDCTL_STACK both"):
        files.read(CONTEXT="mine", STACK="x")
    files.project.write_text('context = "mine"\nstack = "x"\n')
    with pytest.raises(UsageError, match=r"\.shardctl.toml:1 and .*\.shardctl.toml:2 both"):
        files.read()


def test_a_service_elsewhere_is_no_stack_of_this_machine(files: Files) -> None:
    settings = files.read(FLAG_CONTEXT="prod")
    assert settings.target == Elsewhere("https://control.example", "https://login.example", "c", "a")
    assert found(settings, "issuer") == ("https://login.example", f"{files.person}:5")
    for name in ("stack_name", "state_root", "backend"):
        with pytest.raises(UsageError, match=r"prod .--context. is the service at https://control.example: add --cont"):
            getattr(settings, name)


def test_a_context_that_is_not_there_is_named_with_who_said_it(files: Files) -> None:
    with pytest.raises(UsageError, match=r"^SHARDCTL_CONTEXT: there is no context x; there are: checkout, mine, prod"):
        files.read(CONTEXT="x")


def test_a_checkout_chooses_and_defines_nothing(files: Files) -> None:
    for text in (CONTEXTS, "stack = 1\n", 'url = "https://evil.example"\n'):
        files.project.write_text(text)
        with pytest.raises(SettingsInvalid, match=r"\.shardctl\.toml:1: \w+ is no setting of a checkout"):
            files.read()


def test_who_is_told_everything_reads_no_file(files: Files) -> None:
    files.person.write_text("broken")
    files.project.write_text("broken")
    assert files.read(STACK="a", STATE_DIR="/b", BACKEND="c").stack_name == "a"
    with pytest.raises(SettingsInvalid, match=r"\.shardctl\.toml:1: "):
        files.read(STACK="a")
    files.project.unlink()
    assert files.read(STACK="a").stack_name == "a"
    with pytest.raises(SettingsInvalid, match=r"shardctl\.toml:1: "):
        files.read()


def test_the_environment_chooses_the_stack_and_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def test_who_acts_is_what_the_operating_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHARDCTL_ACTOR", "LOGNAME", "USER"):
        monkeypatch.setenv(name, "ann")
    assert os_user() == pwd.getpwuid(os.geteuid()).pw_name
    assert name_of_user(2_000_000_000) == "uid 2000000000"
