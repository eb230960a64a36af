"""`shardctl users show`, `set-profile` and `unrestrict`: one user, in their cell."""

import asyncio
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from infra.backends.backend import Backend
from infra.security.roles import Role
from shardctl.audit.recording import recorded_act
from shardctl.cell_admin import open_cell_admin
from shardctl.operator_tokens import Purpose
from shardctl.output import print_json, print_line, print_table
from shardctl.shardmap.locate import LocatedUser, locate_user, require_cell
from shardctl.stack.current import open_stack

UserName = Annotated[str, typer.Argument(metavar="USER", help="A user id, or the email of the sign-up.")]
UserNames = Annotated[list[str], typer.Argument(metavar="USER...", help="User ids, or the emails of the sign-ups.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Profile(StrEnum):
    RETAIL = "retail"
    PROFESSIONAL = "professional"


def show(user: UserName, as_json: AsJson = False) -> None:
    """A user's ownership, account, limits and the operators' acts, from the user's cell."""
    located, account = asyncio.run(_show(open_stack(), user))
    document = {"located": asdict(located), "account": account}
    if as_json:
        print_json(document)
        return
    acts = account.pop("acts", [])
    _print_fields({"cell": located.cell, "bucket": located.bucket, "pinned": located.pinned, **_flat(account)})
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
    answers = asyncio.run(_set_profiles(open_stack(), users, profile, reason))
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
    answer = asyncio.run(_unrestrict(open_stack(), user, reason))
    if as_json:
        print_json(answer)
        return
    print_line(f"{user}: {'may trade again' if answer['lifted'] else 'was not restricted'}")


async def _show(backend: Backend, user: str) -> tuple[LocatedUser, dict[str, Any]]:
    located = await locate_user(backend, user)
    async with open_cell_admin(backend) as admin:
        return located, await admin.call(require_cell(located), "GET", f"/operator/v1/users/{located.user_id}")


async def _unrestrict(backend: Backend, user: str, reason: str) -> dict[str, Any]:
    located = await locate_user(backend, user)
    path = f"/operator/v1/users/{located.user_id}/unrestrict"
    act = recorded_act(backend, "users.unrestrict", str(located.user_id), reason=reason)
    purpose = Purpose("lift_restriction", str(located.user_id), Role.OPERATOR, reason)
    async with act, open_cell_admin(backend, purpose) as admin:
        return await admin.call(require_cell(located), "POST", path)


async def _set_profiles(backend: Backend, users: list[str], profile: Profile, reason: str) -> list[dict[str, Any]]:
    """One after the other. The first unknown user ends it; repeating the command is harmless."""
    answers = []
    for user in users:
        located = await locate_user(backend, user)
        path, wanted = f"/operator/v1/users/{located.user_id}/profile", {"profile": profile.value}
        act = recorded_act(backend, "users.set_profile", str(located.user_id), reason=reason, arguments=wanted)
        purpose = Purpose("set_profile", str(located.user_id), Role.OPERATOR, reason)
        async with act, open_cell_admin(backend, purpose) as admin:
            answers.append(await admin.call(require_cell(located), "PUT", path, wanted))
    return answers


def _listed(details: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items())


def _print_fields(fields: dict[str, Any]) -> None:
    print_table(("", ""), list(fields.items()))


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
