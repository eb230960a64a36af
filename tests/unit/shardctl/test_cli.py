"""A command imports what it uses and nothing that others use; lists of commands import no command."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.testing import CliRunner

from infra.backends.backend import BackendError
from infra.backends.cell_spec import SpecInvalid
from shardctl.cli import load, make_app, verbs
from shardctl.completion.answer import read_table
from shardctl.examples import EXAMPLES
from shardctl.failures import describe_failure
from shardctl.mounts import MOUNTS, Noun
from tests.support.command_lines import ARGUMENTS

DATABASE: Final = frozenset({"psycopg"})
HTTP: Final = frozenset({"aiohttp"})
REDIS: Final = frozenset({"redis"})
KAFKA: Final = frozenset({"confluent_kafka"})
SIGNS: Final = frozenset({"jwt"})
SERVES: Final = frozenset({"litestar", "uvicorn", "pydantic_settings", "prometheus_client", "holidays", "argon2"})
DRIVERS: Final = DATABASE | HTTP | REDIS | KAFKA | SIGNS | SERVES
STANDS_ON: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("backup create", "backup prune", "backup restore"), DATABASE),
    **dict.fromkeys(
        ("cells summary", "cells check", "cells quarantine", "cells rollups", "cells reconciliations",
         "cells reconcile", "transfers list", "exchange tapes", "exchange summary", "users show", "users set-profile",
         "users unrestrict"), HTTP,
    ),
    **dict.fromkeys(
        ("exchange load-tape", "users hold", "users unhold", "users history", "users receipt", "users verify",
         "keys public"), HTTP | DATABASE,
    ),
    "events tail": KAFKA,
    "events count": KAFKA | HTTP,
    "audit verify": KAFKA,
    **dict.fromkeys(("cells unfence", "cells restored-users", "cells release-users"), KAFKA | HTTP | DATABASE),
}  # fmt: skip
"""By command; others stand on no driver: they look at processes and files, or ask the control service."""
ONE_OF_EACH: Final = tuple({verb.function.partition(":")[0]: " ".join(words) for words, verb in verbs()
                            if " ".join(words) in ARGUMENTS}.values())  # fmt: skip
"""A command of each module: what one of a module imports, the others import too."""
ASKING: Final = ("operations list", "schedules list", "whoami", "config show", "context list", "version")
"""They ask the control service, or nobody."""
HEAVY: Final = (*sorted(DRIVERS), "cryptography", "infra.backends", "infra.runtime")

_EACH_FORKED: Final = """
import json, os, sys
from shardctl.__main__ import main
import shardctl.cli
lines = json.loads(sys.argv[1])
if {shares}:
    sys.argv = ["shardctl", "config", "show"]
    try:
        main()
    except SystemExit:
        pass
for name, words in lines.items():
    if (child := os.fork()) == 0:
        sys.argv = ["shardctl", *words]
        try:
            main()
        except SystemExit:
            pass
        found = sorted(module for module in sys.modules if module in json.loads({drivers!r}))
        os.write(1, (json.dumps(["told", name, found]) + chr(10)).encode())
        os._exit(0)
    os.waitpid(child, 0)
"""
"""Each command in a process that has imported the command line and nothing more, or what all commands share."""


def told(
    lines: Mapping[str, list[str]], drivers: frozenset[str], folder: Path, *, shares: bool = False
) -> dict[str, frozenset[str]]:
    """By command: the modules among `drivers` that are there when it has ended. `shares`: what all share is imported
    once, before."""
    code = _EACH_FORKED.format(drivers=json.dumps(sorted(drivers)), shares=shares)
    environment = {"SHARDCTL_STATE_DIR": str(folder), "SHARDCTL_STACK": "absent", "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["told"')]
    return {name: frozenset(modules) for _, name, modules in found}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, frozenset[str]]:
    """Of each command without a stack: it opens the back end, and finds none."""
    lines = {name: [*name.split(), *ARGUMENTS.get(name, [])] for name in (*ONE_OF_EACH, *ASKING)}
    return told(lines, DRIVERS, tmp_path_factory.mktemp("nobody"), shares=True)


@pytest.mark.parametrize("name", [*ONE_OF_EACH, *ASKING])
def test_a_command_imports_the_drivers_that_it_uses_and_no_others(
    name: str, imported: Mapping[str, frozenset[str]]
) -> None:
    assert imported[name] == STANDS_ON.get(name, frozenset())


def test_help_and_a_wrong_word_load_nothing_that_commands_stand_on(tmp_path: Path) -> None:
    lines = {"top": ["--help"], "noun": ["cells", "--help"], "wrong": ["cells", "lst"], "nothing": []}
    assert told(lines, frozenset(HEAVY), tmp_path) == dict.fromkeys(lines, frozenset())


@pytest.mark.parametrize("noun", [mount for mount in MOUNTS if isinstance(mount, Noun)], ids=lambda noun: noun.name)
def test_the_list_of_a_noun_says_what_each_command_does(noun: Noun) -> None:
    shown = " ".join(CliRunner().invoke(make_app(), [noun.name, "--help"]).output.replace("│", " ").split())
    assert noun.help in shown
    lines = {entry.words: entry.help for entry in read_table()}
    for verb in noun.verbs:
        assert f"{verb} {lines[noun.name, verb]}." in shown
    assert "For example" not in shown


@pytest.mark.parametrize(("words", "verb"), [found for found in verbs() if not found[1].hidden], ids=lambda each: each)
def test_the_help_of_a_command_begins_with_its_example(words: tuple[str, ...], verb: object) -> None:
    shown = " ".join(CliRunner().invoke(make_app(), [*words, "--help"]).output.split())
    assert f"shardctl {' '.join(words)} " in shown
    assert f"For example: shardctl {EXAMPLES[' '.join(words)]}".replace('"', "") in shown.replace('"', "")


def test_every_command_that_is_mounted_is_there() -> None:
    for words, verb in verbs():
        assert load(verb).name == words[-1]
    assert len({words for words, _ in verbs()}) == len(list(verbs()))


def test_a_wrong_word_is_a_usage_error() -> None:
    runner = CliRunner()
    assert runner.invoke(make_app(), ["cell"]).exit_code == 2
    assert runner.invoke(make_app(), ["cells", "lst"]).exit_code == 2
    assert runner.invoke(make_app(), ["status", "--no-such"]).exit_code == 2


def test_failures_of_what_commands_stand_on_end_with_a_line_and_a_code() -> None:
    assert describe_failure(SpecInvalid("3 cells, there are 4")) == ("3 cells, there are 4", 2)
    assert describe_failure(BackendError("no room")) == ("no room", 1)
    assert describe_failure(typer.BadParameter("x")) is None
