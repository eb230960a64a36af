"""How `shardctl up --dry-run` prints its plan."""

from typing import Any

from shardctl.output import print_json, print_line, print_table
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
    totals = ", ".join(f"{MARKS[verb]}{count} {verb}" for verb, count in plan.totals.items() if count)
    print_line(f"{totals}; roles, schemas and topics are brought to this release where they are not")


def _words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(f"{cell['name']} (apis {cell['apis']})" for cell in value)
    return "none" if value is None else str(value)
