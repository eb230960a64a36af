"""What the stack's Prometheus is told: whom to scrape, under which labels, and how little it may keep."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.backends.backend import BackendError
from infra.backends.cell_spec import CellSpec, ProcessKind, StackSpec
from infra.backends.local.folders import StackFolder
from infra.backends.local.judge import judge_prometheus
from infra.backends.local.processes import Tools, make_addresses, plan_processes
from infra.backends.local.prometheus import (
    INSTALL,
    PACE_VARIABLE,
    locate_prometheus,
    render_config,
    render_targets,
    rules_job,
    write_config,
)
from infra.backends.local.record import StackRecord, new_record
from infra.backends.plan import port_names
from monitoring.render import render
from monitoring.tables import TABLES
from tests.support.outside_tools import outside_tool

TOOLS = Tools(Path("/pg/bin"), prometheus=Path("/usr/bin/prometheus"))
WATCHED = StackSpec(cells=(CellSpec("cell-1"), CellSpec("cell-2", apis=2)), routers=2, monitoring=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    monkeypatch.delenv(PACE_VARIABLE, raising=False)
    return StackFolder(tmp_path)


def record(spec: StackSpec = WATCHED) -> StackRecord:
    made = new_record("local-1", spec)
    return made.with_ports({name: 20_000 + offset for offset, name in enumerate(port_names(spec))})


def test_every_process_of_ours_is_a_target_with_its_labels(folder: StackFolder) -> None:
    planned = plan_processes(record(), folder, TOOLS, None)
    targets = {row["labels"]["process"]: row for row in json.loads(render_targets(planned))}
    ours = {process.name: process for process in planned if process.operator_port}
    assert set(targets) == set(ours)
    assert len(ours) == 11
    assert {row["labels"]["job"] for row in targets.values()} == set(TABLES), "each kind has its table of metrics"
    for name, process in ours.items():
        expected = {"job": process.kind.value, "process": name}
        assert targets[name]["labels"] == expected | ({"cell": process.cell} if process.cell else {})
        assert targets[name]["targets"] == [f"127.0.0.1:{process.operator_port}"]


def test_what_it_keeps_is_bounded(folder: StackFolder) -> None:
    (process,) = (each for each in plan_processes(record(), folder, TOOLS, None) if each.kind == "prometheus")
    assert f"--web.listen-address=127.0.0.1:{record().port('prometheus')}" in process.command
    options = " ".join(process.command)
    for bound in ("retention.time=", "retention.size=", "query.max-samples=", "query.max-concurrency="):
        assert bound in options
    assert "GOMEMLIMIT" in process.environment
    assert make_addresses(record(), folder).prometheus_url == f"http://127.0.0.1:{process.port}"


def test_a_stack_that_is_not_watched_has_neither_process_nor_port(folder: StackFolder) -> None:
    spec = replace(WATCHED, monitoring=False)
    assert "prometheus" not in port_names(spec)
    planned = plan_processes(record(spec), folder, replace(TOOLS, prometheus=None), None)
    assert ProcessKind.PROMETHEUS not in {process.kind for process in planned}
    assert make_addresses(record(spec), folder).prometheus_url is None


def test_a_watched_stack_without_the_program_runs_and_is_told_how_to_get_it(folder: StackFolder) -> None:
    planned = plan_processes(record(), folder, replace(TOOLS, prometheus=None), None)
    assert ProcessKind.PROMETHEUS not in {process.kind for process in planned}
    finding = judge_prometheus(None)
    assert INSTALL in str(finding.fix)
    assert judge_prometheus(Path("/usr/bin/prometheus")).detail == "/usr/bin/prometheus"


def test_a_named_program_that_is_none_is_as_if_there_were_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_BIN", "/no/such/program")
    assert locate_prometheus() is None
    assert "PROMETHEUS_BIN" in str(judge_prometheus(None).cause)


def test_a_pace_is_a_number_of_seconds(folder: StackFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules_job(folder).arguments == ("render", str(folder.monitoring))
    monkeypatch.setenv(PACE_VARIABLE, "2")
    assert rules_job(folder).arguments[2:] == ("--hold-s-max", "2")
    assert json.loads(render_config("s", 2))["global"]["scrape_interval"] == "2s"
    for wrong in ("0", "soon", "-1", "3601"):
        monkeypatch.setenv(PACE_VARIABLE, wrong)
        with pytest.raises(BackendError, match=PACE_VARIABLE):
            rules_job(folder)


def test_prometheus_takes_the_configuration_with_its_rules_and_targets(folder: StackFolder) -> None:
    promtool = outside_tool("promtool", for_what="judges the configuration")
    render(folder.monitoring)
    write_config(folder, "local-1", plan_processes(record(), folder, TOOLS, None))
    done = subprocess.run(
        [promtool, "check", "config", str(folder.monitoring / "prometheus.yml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout + done.stderr
