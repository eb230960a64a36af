"""`shardctl users locate`: which cell serves a user."""

from shardctl.commands.finding import find_user
from shardctl.commands.options import AsJson, UserName
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_table


def locate(user: UserName, as_json: AsJson = False) -> None:
    """The cell that serves a user, by the shard map."""
    found = find_user(open_control(), user)
    if as_json:
        print_json(found)
        return
    print_table(("", ""), list(found.items()))
