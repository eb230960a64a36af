"""The runbook has a section for every alert and for nothing else, and each names commands that exist."""

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

import monitoring
from monitoring.alerts import GROUPS
from monitoring.dashboards import DASHBOARDS
from shardctl.cli import load, verbs

ALERTS: Final = {alert.name: alert for alerts in GROUPS.values() for alert in alerts}
TEXT: Final = Path(monitoring.__file__).with_name("RUNBOOK.md").read_text("utf-8")
SECTIONS: Final = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))
README: Final = Path(monitoring.__file__).with_name("README.md").read_text("utf-8")


def commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"```\n(.*?)```", text, re.S)
    return [shlex.split(line) for block in blocks for line in block.strip().splitlines()]


def exit_code(words: list[str]) -> int:
    """Of parsing alone, nothing is run: 0, or 2 where there is no such command or it does not take these words."""
    known = dict(verbs())
    command = next((known[found] for found in (tuple(words[:2]), tuple(words[:1])) if found in known), None)
    if command is None:
        return 2
    depth = 2 if tuple(words[:2]) in known else 1
    try:
        load(command).make_context("shardctl", [re.sub(r"^ID$", "7", word) for word in words[depth:]]).close()
    except Exception as error:  # click's, or typer's own copy of it
        return int(getattr(error, "exit_code", 1))
    return 0


def test_there_is_a_section_for_every_alert_and_no_other() -> None:
    assert set(SECTIONS) == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_section_names_commands_that_exist(name: str) -> None:
    found = commands(SECTIONS[name])
    assert found, "exact commands"
    for words in found:
        assert words[0] == "shardctl"
        assert exit_code(words[1:]) == 0, words


def test_the_check_finds_a_command_that_does_not_exist() -> None:
    for words in (["cells", "heal", "CELL"], ["cells", "cordon", "CELL"], ["status", "--loud"]):
        assert exit_code(words) == 2, words


def test_every_alert_points_at_its_section() -> None:
    for name, alert in ALERTS.items():
        path, _, anchor = alert.runbook.partition("#")
        assert Path(monitoring.__file__).parents[1].joinpath(path).is_file()
        assert anchor in {heading.lower() for heading in SECTIONS}, name


def test_the_readme_lists_every_alert() -> None:
    rows = "\n".join(
        f"| [{alert.name}](RUNBOOK.md#{alert.name.lower()}) | {alert.severity} | {alert.for_s} s | "
        f"{alert.summary.replace('{{ $labels.', '').replace(' }}', '')} |"
        for alert in ALERTS.values()
    )
    assert rows in README


def test_the_readme_lists_every_dashboard() -> None:
    for dashboard in DASHBOARDS:
        assert f"| {dashboard.title} | `{dashboard.uid}.json` | {dashboard.description} |" in README
