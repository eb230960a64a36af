"""`shardctl users revoke`: end a user's access now."""

from typing import Annotated

import typer

from shardctl.commands.finding import act_on_user
from shardctl.commands.options import AsJson, UserName
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_line


def revoke(
    user: UserName,
    reason: Annotated[
        str, typer.Option(help="Why; kept with your name in the control database and in the user's cell.")
    ],
    as_json: AsJson = False,
) -> None:
    """End a user's access now: tokens become void at every router, sessions end. The password still works."""
    done = act_on_user(open_control(), user, "revoke", {"reason": reason})
    if as_json:
        print_json(done)
        return
    notified = (
        "Redis does not answer: routers read it in the control database within seconds"
        if done["routers_notified"] is None
        else f"routers notified: {done['routers_notified']}"
    )
    print_line(f"{done['user_id']}: access tokens from until now are void ({notified})")
    print_line(f"{done['cell']}: sessions ended: {done['sessions_ended']}")
