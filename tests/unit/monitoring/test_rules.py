"""Each alert fires in the story that is for it and stays quiet in the others, as Prometheus itself judges them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from monitoring.__main__ import cli
from monitoring.alert import Alert, Severity
from monitoring.alerts import GROUPS
from monitoring.render import RULE_TESTS_FOLDER, RULES_FOLDER, render
from monitoring.tables import UnknownMetric
from tests.support.outside_tools import outside_tool

ALERTS: Final = [alert for alerts in GROUPS.values() for alert in alerts]
NEVER: Final = "vector(1) > 2"
ALWAYS: Final = "vector(1)"


def promtool(*arguments: str, folder: Path) -> tuple[int, str]:
    tool = outside_tool("promtool", for_what="judges the rules")
    done = subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def names_in(folder: Path, name: str) -> list[str]:
    return sorted(f"{name}/{path.name}" for path in (folder / name).iterdir())


def rules_in(folder: Path) -> list[dict[str, Any]]:
    documents = [json.loads((folder / name).read_text()) for name in names_in(folder, RULES_FOLDER)]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("monitoring")
    render(folder)
    return folder


def test_prometheus_takes_every_rule(folder: Path) -> None:
    code, said = promtool("check", "rules", *names_in(folder, RULES_FOLDER), folder=folder)
    assert code == 0, said
    assert len(rules_in(folder)) == len(ALERTS)


def test_every_alert_fires_and_stays_quiet_where_it_should(folder: Path) -> None:
    code, said = promtool("test", "rules", *names_in(folder, RULE_TESTS_FOLDER), folder=folder)
    assert code == 0, said


@pytest.mark.parametrize("expression", [NEVER, ALWAYS])
def test_every_alert_that_never_or_always_fires_is_found_out(tmp_path: Path, expression: str) -> None:
    """The stories of each alert can fail, both ways."""
    render(tmp_path)
    for name in names_in(tmp_path, RULES_FOLDER):
        document = json.loads((tmp_path / name).read_text())
        for rule in document["groups"][0]["rules"]:
            rule["expr"], rule["for"] = expression, "0s"
        (tmp_path / name).write_text(json.dumps(document))
    code, said = promtool("test", "rules", *names_in(tmp_path, RULE_TESTS_FOLDER), folder=tmp_path)
    assert code != 0
    assert set(re.findall(r"alertname:\s*(\w+)", said)) == {alert.name for alert in ALERTS}


def test_a_drill_shortens_every_wait(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["render", str(tmp_path), "--hold-s-max", "1"])
    assert done.exit_code == 0, done.output
    assert {rule["for"] for rule in rules_in(tmp_path)} == {"0s", "1s"}


def test_an_alert_on_what_nobody_exports_cannot_be_written_down() -> None:
    with pytest.raises(UnknownMetric, match="cell_orders_stuk"):
        Alert(
            name="Typo",
            query="cell_orders_stuk > 0",
            for_s=0,
            severity=Severity.PAGE,
            summary="",
            fires={"a": "1x30"},
            labels={},
            quiet=({"a": "0x30"},),
        )
