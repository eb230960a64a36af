"""`shardctl users ...`: locate, show, set-profile, unrestrict, revoke; moves have files of their own.

The control service does it, in the name of who asks; an email is looked up first, so that acts name an id.
"""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from shardctl.cell_admin import open_cell_admin
from shardctl.commands import move_records, moving
from shardctl.commands.finding import find_user
from shardctl.commands.submitting import open_control
from shardctl.control_patience import PatientControl
from shardctl.errors import Refused
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack

app = typer.Typer(help="Users: locate, show, change profile, unrestrict, revoke, move.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(metavar="USER", help="A user id, or the email of the sign-up.")]
UserNames = Annotated[list[str], typer.Argument(metavar="USER...", help="User ids, or the emails of the sign-ups.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Profile(StrEnum):
    RETAIL = "retail"
    PROFESSIONAL = "professional"


@app.command()
def locate(user: UserName, as_json: AsJson = False) -> None:
    """The cell that serves a user, by the shard map."""
    found = find_user(open_control(), user)
    if as_json:
        print_json(found)
        return
    _print_fields(found)


@app.command()
def show(user: UserName, as_json: AsJson = False) -> None:
    """A user's ownership, account, limits and the operators' acts, from the user's cell."""
    located = find_user(open_control(), user)
    account = asyncio.run(_account(located))
    if as_json:
        print_json({"located": located, "account": account})
        return
    acts = account.pop("acts", [])
    shown = {"cell": located["cell"], "bucket": located["bucket"], "pinned": located["pinned"], **_flat(account)}
    _print_fields(shown)
    if acts:
        rows = [(act["at"], act["actor"], act["act"], act["reason"], _listed(act["details"])) for act in acts]
        print_table(("at", "actor", "act", "reason", "details"), rows)


@app.command("set-profile")
def set_profile(
    users: UserNames,
    profile: Annotated[Profile, typer.Argument(help="Which limits check their orders.")],
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the user's cell.")],
    as_json: AsJson = False,
) -> None:
    """Set the risk profile that checks the orders of these users."""
    control, wanted = open_control(), {"profile": profile.value, "reason": reason}
    # The first unknown user ends it; repeating the command is harmless.
    answers = [_act(control, user, "profile", wanted) for user in users]
    if as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
    else:
        for user in users:
            print_line(f"{user}: {profile.value}")


@app.command()
def unrestrict(
    user: UserName,
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the user's cell.")],
    as_json: AsJson = False,
) -> None:
    """Let a restricted user trade again. Refused, with the figures, while the account owes cash or shares."""
    answer = _act(open_control(), user, "unrestrict", {"reason": reason})
    if as_json:
        print_json(answer)
        return
    print_line(f"{user}: {'may trade again' if answer['lifted'] else 'was not restricted'}")


@app.command()
def revoke(
    user: UserName,
    reason: Annotated[
        str, typer.Option(help="Why; kept with your name in the control database and in the user's cell.")
    ],
    as_json: AsJson = False,
) -> None:
    """End a user's access now: tokens become void at every router, sessions end. The password still works."""
    done = _act(open_control(), user, "revoke", {"reason": reason})
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


moving.register(app)
move_records.register(app)


def _act(control: PatientControl, user: str, act: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Each of these may be said twice."""
    user_id = find_user(control, user)["user_id"]
    return control.post(f"/v1/users/{user_id}/{act}", body, is_repeatable=True)


async def _account(located: Mapping[str, Any]) -> dict[str, Any]:
    user_id, cell = located["user_id"], located["cell"]
    if cell is None:
        raise Refused(f"no cell serves bucket {located['bucket']}, where {user_id} belongs")
    async with open_cell_admin(open_stack()) as admin:
        return await admin.call(cell, "GET", f"/operator/v1/users/{user_id}")


def _listed(details: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items())


def _print_fields(fields: Mapping[str, Any]) -> None:
    print_table(("", ""), list(fields.items()))


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
