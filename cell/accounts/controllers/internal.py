"""`/internal/v1`: what the router asks of a cell on a customer's behalf; it never forwards a client's own path here."""

import re
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, post
from litestar.di import NamedDependency

from cell import errors
from cell.accounts.open_account import Accounts, Source
from cell.caller import Caller, format_time
from infra.runtime.strict_body import read_body
from infra.security.password_form import PasswordRefused, check_password

_EMAIL: Final = re.compile(r"[^@\s\x00]{1,64}@[^@\s\x00]{1,189}")


class AccountRequest(msgspec.Struct, forbid_unknown_fields=True):
    email: str
    password: str
    name: str | None = None
    source: str | None = None
    """The address that the customer's connection comes from, as the router counts it."""


class LoginRequest(msgspec.Struct, forbid_unknown_fields=True):
    password: str
    source: str | None = None
    refresh_token: str | None = None
    """What the customer showed besides the password: a device that has logged in before is not counted with
    strangers."""


class RefreshRequest(msgspec.Struct, forbid_unknown_fields=True):
    refresh_token: str
    attempt: str | None = None
    """Sent by routers of the release before this one; nothing is read from it."""


class AccountOpened(msgspec.Struct):
    user_id: UUID
    refresh_token: str
    created_at: str


class SessionStarted(msgspec.Struct):
    user_id: UUID
    refresh_token: str


class SessionRefreshed(msgspec.Struct):
    user_id: UUID
    refresh_token: str
    first_used_at_s: int
    """When the shown token was used for the first time, in seconds since 1970."""


_account = msgspec.json.Decoder(AccountRequest)
_login = msgspec.json.Decoder(LoginRequest)
_refresh = msgspec.json.Decoder(RefreshRequest)


def _check_password(password: str) -> str:
    try:
        return check_password(password)
    except PasswordRefused as refused:
        raise errors.invalid_field(422, "password", str(refused)) from refused


class InternalController(Controller):
    path = "/internal/v1"
    include_in_schema = False

    @post("/accounts")
    async def open_account(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]
    ) -> AccountOpened:
        """For the router, after a sign-up. Raises 422 INVALID_FIELD, and what `Accounts.open_account` raises."""
        body = await read_body(_account, request)
        if not _EMAIL.fullmatch(body.email):
            raise errors.invalid_field(422, "email", "not an e-mail address")
        if body.name is not None and (len(body.name) > 200 or "\x00" in body.name):
            raise errors.invalid_field(422, "name", "200 characters at most, none of them NUL")
        opened = await accounts.open_account(
            caller,
            email=body.email,
            name=body.name,
            password=_check_password(body.password),
            source=Source(body.source),
        )
        return AccountOpened(caller.user_id, opened.refresh_token, format_time(opened.created_at))

    @post("/sessions", status_code=200)
    async def log_in(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]
    ) -> SessionStarted:
        body = await read_body(_login, request)
        source = Source(body.source, body.refresh_token)
        return SessionStarted(caller.user_id, await accounts.log_in(caller, password=body.password, source=source))

    @post("/sessions/refresh", status_code=200)
    async def refresh(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]
    ) -> SessionRefreshed:
        body = await read_body(_refresh, request)
        refreshed = await accounts.refresh(caller, body.refresh_token)
        return SessionRefreshed(caller.user_id, refreshed.refresh_token, int(refreshed.first_used_at.timestamp()))
