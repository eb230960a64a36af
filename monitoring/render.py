"""Write rules, their tests and dashboards to a folder. The only part of this package that touches a disk.

The files are made from code at will, by every release for itself, so none is committed: what is loaded always fits the
processes that run beside it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitoring.alerts import GROUPS
from monitoring.dashboards import DASHBOARDS
from monitoring.grafana import render_dashboard
from monitoring.rules import render_rule_tests, render_rules

RULES_FOLDER: Final = "rules"
RULE_TESTS_FOLDER: Final = "rule_tests"
DASHBOARDS_FOLDER: Final = "dashboards"


@dataclass(frozen=True, slots=True)
class Rendered:
    """How many of each were written."""

    alerts: int
    dashboards: int


def render(folder: Path, *, hold_s_max: int | None = None) -> Rendered:
    """Write everything below `folder`, over what is there; `hold_s_max` shortens every alert's `for`.

    Raises UnknownMetric (when the package is imported, at the latest), OSError.
    """
    for name in (RULES_FOLDER, RULE_TESTS_FOLDER, DASHBOARDS_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for group, alerts in GROUPS.items():
        name = f"{group}.yml"
        (folder / RULES_FOLDER / name).write_text(render_rules(group, alerts, hold_s_max=hold_s_max), "utf-8")
        tests = render_rule_tests(f"../{RULES_FOLDER}/{name}", alerts)
        (folder / RULE_TESTS_FOLDER / name).write_text(tests, "utf-8")
    for dashboard in DASHBOARDS:
        path = folder / DASHBOARDS_FOLDER / f"{dashboard.uid}.json"
        path.write_text(render_dashboard(dashboard), "utf-8")
    return Rendered(sum(map(len, GROUPS.values())), len(DASHBOARDS))
