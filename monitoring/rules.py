"""Alerts as Prometheus reads them, and their stories as promtool judges them. Pure: values in, documents out.

The documents are JSON, which every YAML reader takes.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from monitoring.alert import STORY_SAMPLES, STORY_STEP_S, Alert, Series

EVALUATED_EVERY_S: Final = 15
"""As often as processes are scraped."""
_STORY_EVALUATED_EVERY_S: Final = 60
"""Rarely: promtool takes a millisecond for a rule and a moment, and there are thousands."""
_END: Final = f"{STORY_SAMPLES * STORY_STEP_S}s"
"""When a story is judged."""


def render_rules(group: str, alerts: Sequence[Alert], *, hold_s_max: int | None = None) -> str:
    """The rules file of a group. `hold_s_max` shortens every `for`: a drill cannot wait for minutes."""
    every_s = EVALUATED_EVERY_S if hold_s_max is None else 1
    rules = [_rule(alert, hold_s_max) for alert in alerts]
    return _text({"groups": [{"name": group, "interval": f"{every_s}s", "rules": rules}]})


def _rule(alert: Alert, hold_s_max: int | None) -> dict[str, Any]:
    hold_s = alert.for_s if hold_s_max is None else min(alert.for_s, hold_s_max)
    return {
        "alert": alert.name,
        "expr": alert.query,
        "for": f"{hold_s}s",
        "labels": {"severity": alert.severity.value},
        "annotations": {"summary": alert.summary, "runbook": alert.runbook},
    }


def render_rule_tests(rules_file: str, alerts: Sequence[Alert]) -> str:
    """For `promtool test rules`: of each alert the story that fires it, and those that must not."""
    tests = [story for alert in alerts for story in _stories(alert)]
    every = f"{_STORY_EVALUATED_EVERY_S}s"
    return _text({"rule_files": [rules_file], "evaluation_interval": every, "tests": tests})


def _stories(alert: Alert) -> list[dict[str, Any]]:
    expected = {
        "exp_labels": {**alert.labels, "severity": alert.severity.value},
        "exp_annotations": {"summary": alert.filled_summary(), "runbook": alert.runbook},
    }
    quiet = [_story(alert, f"quiet {number}", series, []) for number, series in enumerate(alert.quiet, 1)]
    return [_story(alert, "fires", alert.fires, [expected]), *quiet]


def _story(alert: Alert, name: str, series: Series, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": f"{alert.name} {name}",
        "interval": f"{STORY_STEP_S}s",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [{"eval_time": _END, "alertname": alert.name, "exp_alerts": expected}],
    }


def _text(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"
