"""A dashboard as Grafana imports it (schema 38, Grafana 10 and later), and what it must fulfil. Pure.

The data source is a variable, so the same file serves every Grafana. There is no published schema that a locked package
brings; `faults_of` checks the parts that an import stumbles over: ids, places, data sources, units, variables.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from monitoring.dashboard import Dashboard, Panel, Row, Shape, Unit

SCHEMA_VERSION: Final = 38
"""Of the dashboards' format: the one of Grafana 10, which later ones still read."""
COLUMNS: Final = 24
"""Grafana's grid."""
PANEL_ROWS: Final = 8
"""Of the grid's 30 pixels: three panels below each other on a screen."""
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def render_dashboard(dashboard: Dashboard) -> str:
    return json.dumps(_document(dashboard), indent=2) + "\n"


def _document(dashboard: Dashboard) -> dict[str, Any]:
    variables = [_source_variable()] + ([_cell_variable()] if dashboard.chooses_cell else [])
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["cells"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": variables},
        "panels": list(_panels(dashboard.rows)),
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _cell_variable() -> dict[str, Any]:
    query = "label_values(cell_requests_total, cell)"
    return {
        "name": "cell",
        "label": "Cell",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "cells"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for row in rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        number, y = number + 1, y + 1
        width = COLUMNS // len(row.panels)
        for index, panel in enumerate(row.panels):
            yield _panel(number, panel, {"h": PANEL_ROWS, "w": width, "x": index * width, "y": y})
            number += 1
        y += PANEL_ROWS


def _panel(number: int, panel: Panel, place: Mapping[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "expr": query.promql,
            "legendFormat": query.legend,
            "datasource": _SOURCE,
            "instant": panel.shape is Shape.FIGURE,
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.shape.value,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": dict(place),
        "fieldConfig": {"defaults": {"unit": panel.unit.value, "min": 0}, "overrides": []},
        "options": {"legend": {"showLegend": True}} if panel.shape is Shape.LINES else {},
        "targets": targets,
    }


def faults_of(document: Mapping[str, Any]) -> Iterator[str]:
    """What an import would stumble over, in words; nothing if it would not.

    Grafana itself says little: a panel over another one, a second panel of the same id or a query with an unknown
    variable is imported and shows nothing. So the layout is counted out square by square, and each query's variables
    are looked up among those that the dashboard declares.
    """
    if not re.fullmatch(r"[a-z0-9-]{1,40}", document["uid"]):
        yield "uid: letters, digits, dashes, at most 40"
    if document["schemaVersion"] != SCHEMA_VERSION:
        yield "schemaVersion"
    variables = {each["name"] for each in document["templating"]["list"]}
    ids = [panel["id"] for panel in document["panels"]]
    if len(set(ids)) != len(ids):
        yield "two panels have one id"
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if taken & fields or place["x"] + place["w"] > COLUMNS:
            yield f"{panel['title']}: lies over another panel, or beyond the edge"
        taken |= fields
        if panel["type"] != "row":
            yield from _faults_of_panel(panel, variables)


def _faults_of_panel(panel: Mapping[str, Any], variables: set[str]) -> Iterator[str]:
    if panel["type"] not in list(Shape) or panel["fieldConfig"]["defaults"]["unit"] not in list(Unit):
        yield f"{panel['title']}: type or unit is unknown"
    references = [target["refId"] for target in panel["targets"]]
    if not references or len(set(references)) != len(references):
        yield f"{panel['title']}: no target, or two of one name"
    for target in panel["targets"]:
        used = set(re.findall(r"\$\{?([a-z]+)", json.dumps(target))) - variables
        if used:
            yield f"{panel['title']}: no variable {', '.join(sorted(used))}"
        if target["datasource"] != _SOURCE or not target["expr"].strip() or not target["legendFormat"]:
            yield f"{panel['title']}: a target without data source, query or legend"
