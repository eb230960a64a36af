"""Nouns and verbs are imported when they are used, and the top level's help says of each what it says itself."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from infra.backends.backend import BackendError
from infra.backends.cell_spec import SpecInvalid
from shardctl.cli import MOUNTS, Mount, load, make_app
from shardctl.failures import describe_failure

HEAVY = ("psycopg", "redis", "aiohttp", "confluent_kafka", "pydantic", "litestar", "infra.backends", "infra.runtime")


@pytest.mark.parametrize("mount", MOUNTS, ids=lambda mount: mount.name)
def test_the_help_is_the_commands_own(mount: Mount) -> None:
    assert load(mount).help == mount.help


def test_help_loads_nothing_that_commands_stand_on() -> None:
    code = f"""
import sys
from shardctl.__main__ import main
sys.argv = ["shardctl", "--help"]
try:
    main()
except SystemExit:
    print("loaded:", *(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Cells: list, add" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(
    "line", [["cells", "--help"], ["cells", "list", "-h"], ["up", "--help"], ["map", "show", "-h"]]
)
def test_what_stands_below_answers_as_if_it_had_been_there(line: list[str]) -> None:
    done = CliRunner().invoke(make_app(), line)
    assert done.exit_code == 0, done.output
    assert f"shardctl {' '.join(line[:-1])} " in done.output


def test_a_wrong_word_is_a_usage_error() -> None:
    runner = CliRunner()
    assert runner.invoke(make_app(), ["cell"]).exit_code == 2
    assert runner.invoke(make_app(), ["cells", "lst"]).exit_code == 2
    assert runner.invoke(make_app(), ["status", "--no-such"]).exit_code == 2


def test_failures_of_what_commands_stand_on_end_with_a_line_and_a_code() -> None:
    assert describe_failure(SpecInvalid("3 cells, there are 4")) == ("3 cells, there are 4", 2)
    assert describe_failure(BackendError("no room")) == ("no room", 1)
    assert describe_failure(typer.BadParameter("x")) is None
