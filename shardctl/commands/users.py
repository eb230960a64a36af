"""`shardctl users show`, `set-profile` and `unrestrict`: one user, in their cell."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from shardctl.cell_admin import open_cell_admin
from shardctl.commands.finding import act_on_user, find_user
from shardctl.commands.options import AsJson, UserName
from shardctl.commands.submitting import open_control
from shardctl.errors import Refused
from shardctl.output import print_json, print_line, print_table
from shardctl.stack.current import open_stack

UserNames = Annotated[list[str], typer.Argument(metavar="USER...", help="User ids, or the emails of the sign-ups.")]


class Profile(StrEnum):
    RETAIL = "retail"
    PROFESSIONAL = "professional"


def show(user: UserName, as_json: AsJson = False) -> None:
    """A user's ownership, account, limits and the operators' acts, from the user's cell."""
    located = find_user(open_control(), user)
    account = asyncio.run(_account(located))
    if as_json:
        print_json({"located": located, "account": account})
        return
    acts = account.pop("acts", [])
    place = {name: located[name] for name in ("cell", "bucket", "pinned")}
    print_table(("", ""), list({**place, **_flat(account)}.items()))
    if acts:
        rows = [(act["at"], act["actor"], act["act"], act["reason"], _listed(act["details"])) for act in acts]
        print_table(("at", "actor", "act", "reason", "details"), rows)


def set_profile(
    users: UserNames,
    profile: Annotated[Profile, typer.Argument(help="Which limits check their orders.")],
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the user's cell.")],
    as_json: AsJson = False,
) -> None:
    """Set the risk profile that checks the orders of these users."""
    control, wanted = open_control(), {"profile": profile.value, "reason": reason}
    # One after the other: the first unknown user ends it, and repeating the command is harmless.
    answers = [act_on_user(control, user, "profile", wanted) for user in users]
    if as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
    else:
        for user in users:
            print_line(f"{user}: {profile.value}")


def unrestrict(
    user: UserName,
    reason: Annotated[str, typer.Option(help="Why; kept with your name in the user's cell.")],
    as_json: AsJson = False,
) -> None:
    """Let a restricted user trade again. Refused, with the figures, while the account owes cash or shares."""
    answer = act_on_user(open_control(), user, "unrestrict", {"reason": reason})
    if as_json:
        print_json(answer)
        return
    print_line(f"{user}: {'may trade again' if answer['lifted'] else 'was not restricted'}")


async def _account(located: Mapping[str, Any]) -> dict[str, Any]:
    user_id, cell = located["user_id"], located["cell"]
    if cell is None:
        raise Refused(f"no cell serves bucket {located['bucket']}, where {user_id} belongs")
    async with open_cell_admin(open_stack()) as admin:
        return await admin.call(cell, "GET", f"/operator/v1/users/{user_id}")


def _listed(details: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items())


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
