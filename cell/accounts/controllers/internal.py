"""`/internal/v1`: what the router asks of a cell on a customer's behalf; it never forwards a client's own path here."""

import re
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, post
from litestar.di import NamedDependency

from cell import errors
from cell.accounts.open_account import PASSWORD_BYTES_MAX, Accounts
from cell.caller import Caller, decode_body, format_time

_EMAIL: Final = re.compile(r"[^@\s\x00]{1,64}@[^@\s\x00]{1,189}")


class AccountRequest(msgspec.Struct):
    email: str
    password: str
    name: str | None = None


class LoginRequest(msgspec.Struct):
    password: str


class RefreshRequest(msgspec.Struct):
    refresh_token: str
    attempt: Annotated[str, msgspec.Meta(min_length=22, max_length=64)] | None = None
    """Random, and the same whenever the router asks again for one customer's request."""


class AccountOpened(msgspec.Struct):
    user_id: UUID
    refresh_token: str
    created_at: str


class SessionStarted(msgspec.Struct):
    user_id: UUID
    refresh_token: str


_account = msgspec.json.Decoder(AccountRequest)
_login = msgspec.json.Decoder(LoginRequest)
_refresh = msgspec.json.Decoder(RefreshRequest)


def _check_password(password: str) -> str:
    if not len(password) >= 8 or len(password.encode("utf-8", "surrogatepass")) > PASSWORD_BYTES_MAX:
        raise errors.invalid_field(422, "password", f"8 characters at least, {PASSWORD_BYTES_MAX} bytes at most")
    return password


class InternalController(Controller):
    path = "/internal/v1"
    include_in_schema = False

    @post("/accounts")
    async def open_account(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]
    ) -> AccountOpened:
        body = decode_body(_account, await request.body())
        if not _EMAIL.fullmatch(body.email):
            raise errors.invalid_field(422, "email", "not an e-mail address")
        if body.name is not None and (len(body.name) > 200 or "\x00" in body.name):
            raise errors.invalid_field(422, "name", "200 characters at most, none of them NUL")
        opened = await accounts.open_account(
            caller, email=body.email, name=body.name, password=_check_password(body.password)
        )
        return AccountOpened(caller.user_id, opened.refresh_token, format_time(opened.created_at))

    @post("/sessions", status_code=200)
    async def log_in(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]
    ) -> SessionStarted:
        body = decode_body(_login, await request.body())
        return SessionStarted(caller.user_id, await accounts.log_in(caller, password=body.password))

    @post("/sessions/refresh", status_code=200)
    async def refresh(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]
    ) -> SessionStarted:
        body = decode_body(_refresh, await request.body())
        return SessionStarted(caller.user_id, await accounts.refresh(caller, body.refresh_token, body.attempt))
