"""`/v1/users`: where a user is, and what an operator does to one: revoke, profile, restriction, transfers of shares.

Acts name the user by id alone: they are recorded for ever, and an email is not for ever somebody's.
"""

from dataclasses import asdict
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from infra.runtime.strict_body import read_body
from shardctl.audit.attempts import of_act
from shardctl.cells.user_acts import decide_transfer, lift_restriction, set_profile
from shardctl.revoke import revoke_user
from shardctl.service.acting import REASONED, Acting
from shardctl.service.auditing import DESCRIBE
from shardctl.service.identity import person_of


class ProfileChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profile: Literal["retail", "professional"]
    reason: str


_profile = msgspec.json.Decoder(ProfileChange)
_TRANSFER = "/{user_id:uuid}/share-transfers/{transfer:uuid}"


class UsersController(Controller):
    path = "/v1/users"

    @get("/")
    async def located(
        self, request: Request[Any, Any, Any], acting: NamedDependency[Acting], named: FromQuery[str]
    ) -> dict[str, Any]:
        """`named`: a user's id, or the email of the sign-up."""
        return asdict(await acting.looking(person_of(request)).locate(named))

    @post("/{user_id:uuid}/revoke", status_code=200, opt={DESCRIBE: of_act("users.revoke", "{user_id}")})
    async def revoke(
        self, request: Request[Any, Any, Any], user_id: FromPath[UUID], acting: NamedDependency[Acting]
    ) -> dict[str, Any]:
        body = await read_body(REASONED, request)
        return asdict(await revoke_user(acting.in_a_cell(person_of(request), body.reason), user_id))

    @post("/{user_id:uuid}/profile", status_code=200, opt={DESCRIBE: of_act("users.set_profile", "{user_id}")})
    async def profile(
        self, request: Request[Any, Any, Any], user_id: FromPath[UUID], acting: NamedDependency[Acting]
    ) -> dict[str, Any]:
        body = await read_body(_profile, request)
        return await set_profile(acting.in_a_cell(person_of(request), body.reason), user_id, body.profile)

    @post("/{user_id:uuid}/unrestrict", status_code=200, opt={DESCRIBE: of_act("users.unrestrict", "{user_id}")})
    async def unrestrict(
        self, request: Request[Any, Any, Any], user_id: FromPath[UUID], acting: NamedDependency[Acting]
    ) -> dict[str, Any]:
        body = await read_body(REASONED, request)
        return await lift_restriction(acting.in_a_cell(person_of(request), body.reason), user_id)

    @post(f"{_TRANSFER}/approve", status_code=200, opt={DESCRIBE: of_act("transfers.approve", "{user_id}")})
    async def approve(
        self,
        request: Request[Any, Any, Any],
        user_id: FromPath[UUID],
        transfer: FromPath[UUID],
        acting: NamedDependency[Acting],
    ) -> dict[str, Any]:
        body = await read_body(REASONED, request)
        return await decide_transfer(acting.in_a_cell(person_of(request), body.reason), user_id, transfer, "approve")

    @post(f"{_TRANSFER}/refuse", status_code=200, opt={DESCRIBE: of_act("transfers.refuse", "{user_id}")})
    async def refuse(
        self,
        request: Request[Any, Any, Any],
        user_id: FromPath[UUID],
        transfer: FromPath[UUID],
        acting: NamedDependency[Acting],
    ) -> dict[str, Any]:
        body = await read_body(REASONED, request)
        return await decide_transfer(acting.in_a_cell(person_of(request), body.reason), user_id, transfer, "refuse")
