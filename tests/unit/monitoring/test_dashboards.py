"""Dashboards import, name only what is exported, and lie on their grid; the checks find what they are for."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from monitoring.dashboard import Dashboard, Unit, one
from monitoring.dashboards import DASHBOARDS
from monitoring.grafana import faults_of, render_dashboard
from monitoring.render import render
from monitoring.tables import UnknownMetric, check_names


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_a_dashboard_has_no_fault(dashboard: Dashboard) -> None:
    document = json.loads(render_dashboard(dashboard))
    assert list(faults_of(document)) == []
    for title, promql in dashboard.queries():
        check_names(title, promql)
    assert len({row.title for row in dashboard.rows}) == len(dashboard.rows)


def test_all_are_written_and_have_names_of_their_own(tmp_path: Path) -> None:
    assert render(tmp_path).dashboards == len(DASHBOARDS)
    written = {path.stem for path in (tmp_path / "dashboards").iterdir()}
    assert written == {dashboard.uid for dashboard in DASHBOARDS}


def test_a_panel_of_nothing_cannot_be_written_down() -> None:
    with pytest.raises(UnknownMetric):
        one("Typo", Unit.COUNT, "sum(cell_orders_stuk)", "orders")


def damage(document: dict[str, Any], name: str) -> None:
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    match name:
        case "id":
            panels[0]["id"] = panels[1]["id"]
        case "place":
            panels[1]["gridPos"] = panels[0]["gridPos"]
        case "edge":
            panels[0]["gridPos"]["x"] = 23
        case "source":
            panels[0]["targets"][0]["datasource"] = {"type": "prometheus", "uid": "mine"}
        case "variable":
            panels[0]["targets"][0]["expr"] += '{cell=~"$sell"}'
        case "unit":
            panels[0]["fieldConfig"]["defaults"]["unit"] = "parsecs"
        case "targets":
            panels[0]["targets"] = []
        case "uid":
            document["uid"] = "Not a uid"
        case "schema":
            document["schemaVersion"] = 1


@pytest.mark.parametrize("name", ["id", "place", "edge", "source", "variable", "unit", "targets", "uid", "schema"])
def test_a_damaged_dashboard_is_found_out(name: str) -> None:
    document = json.loads(render_dashboard(DASHBOARDS[1]))
    damaged = deepcopy(document)
    damage(damaged, name)
    assert list(faults_of(damaged))
