"""How `shardctl up --dry-run` prints its plan."""

from collections.abc import Mapping
from typing import Any

from shardctl.output import print_json, print_line, print_table
from shardctl.stack.migrations import PendingMigrations
from shardctl.stack.preview import MARKS, UpPlan


def show_up_plan(plan: UpPlan, *, as_json: bool) -> None:
    if as_json:
        print_json(plan.document())
        return
    print_line(f"stack {plan.stack}: {'nothing is done yet' if plan.exists else 'a new one; nothing is made yet'}")
    if plan.exists:
        for name, (before, after) in plan.settings.items():
            print_line(f"  {name.replace('_', ' ')}: {_words(before)} -> {_words(after)}")
    rows = [(MARKS[change.verb], change.process, change.verb, change.why) for change in plan.changes]
    print_table(("", "process", "", "why"), rows)
    _show_migrations(plan)
    totals = ", ".join(f"{MARKS[verb]}{count} {verb}" for verb, count in plan.totals.items() if count)
    print_line(f"{totals}; roles, schemas and topics are brought to this release where they are not")


def _show_migrations(plan: UpPlan) -> None:
    if plan.migrations:
        rows = [(found.database, _told(found)) for found in plan.migrations]
        print_table(("database", "migrations of this release that it does not have"), rows)


def _told(found: PendingMigrations) -> str:
    if found.names is None:
        return found.why
    code = "" if found.has_code else f"{'; ' if found.names else ''}the code of this release"
    return ", ".join(found.names) + code or "none"


def _words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_word(each) for each in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
    return "none" if value is None else str(value)


def _word(value: Any) -> str:
    return f"{value['name']} (apis {value['apis']})" if isinstance(value, Mapping) else str(value)
