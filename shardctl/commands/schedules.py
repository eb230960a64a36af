"""`shardctl schedules list`: what the control service begins by the clock."""

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_table


def list_(as_json: AsJson = False) -> None:
    """Each schedule: when it is due next, when it began last, and that operation's number."""
    items = open_control().get("/v1/schedules")["items"]
    if as_json:
        print_json(items)
        return
    columns = ("schedule", "kind", "every", "due next", "begun last", "operation>")
    print_table(columns, [[item[name] for name in _SHOWN] for item in items])


_SHOWN = ("name", "kind", "every", "due_at", "begun_at", "operation_id")
