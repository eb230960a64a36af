"""Tokens for the operator ports of cells and of the exchange: who, what they may do, why.

The control service signs them. A command asks it over its socket, where the operating system says who asks: subject and
role are that person's, whatever the command says. While the service does not answer, who can read the stack's key file
may sign with it, which is the machine's owner and root; it is said on standard error. Steps of operations carry the
number of their lease, which no person's token has. A token that may do more than look is made for one request, and
serves no other.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from infra.backends.backend import Backend
from infra.security.roles import Role
from infra.security.why import check_why
from shardctl.control_client import ControlClient
from shardctl.errors import NotReachable, UsageError
from shardctl.output import print_warning
from shardctl.persons import os_user

_KEPT_S: Final = 200
"""A walk asks with one token for so long, then for a new one: what is on its way when it ends has a minute and more."""
_ANSWER_TIMEOUT_S: Final = 10.0
"""The service signs in milliseconds; one that takes longer counts as dead."""
PATH: Final = "/v1/operator-tokens"
_LOOKS: Final = "GET"
"""A request with this method changes nothing, at every port."""

Token = Callable[[str], Awaitable[str]]
"""Asked before each request, by its name (`infra.security.request_name`)."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a person wants a token for. Made before anything is done: raises UsageError for a reason that a cell could
    not keep."""

    act: str
    target: str
    role: Role = Role.VIEWER
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.reason is not None:
            check_kept(self.reason)


LOOK: Final = Purpose("look", "cells")


def check_kept(reason: str) -> None:
    """Raises UsageError for one that a cell could not keep."""
    try:
        check_why(reason)
    except ValueError as error:
        raise UsageError(str(error)) from error


def as_token(backend: Backend, wanted: Token | Purpose) -> Token:
    """A purpose is the person's at this terminal. Raises NotAllowed, UsageError, KeyFileInvalid when it is asked."""
    return token_of_person(backend, wanted) if isinstance(wanted, Purpose) else wanted


def token_of_person(backend: Backend, purpose: Purpose) -> Token:
    """For the person at this terminal: one for some minutes to look with, and one for each request that may change
    something. Raises NotAllowed, UsageError, KeyFileInvalid."""
    held, until_s = "", 0.0

    async def token(request: str) -> str:
        nonlocal held, until_s
        if purpose.role is not Role.VIEWER and f" {_LOOKS} " not in request:
            return await asyncio.to_thread(_ask, backend, purpose, request)
        if not held or time.monotonic() >= until_s:
            held, until_s = await asyncio.to_thread(_ask, backend, LOOK, None), time.monotonic() + _KEPT_S
        return held

    return token


def _ask(backend: Backend, purpose: Purpose, request: str | None) -> str:
    wanted: dict[str, Any] = {
        "act": purpose.act, "target": purpose.target, "role": purpose.role, "reason": purpose.reason,
        "request": request,
    }  # fmt: skip
    client = ControlClient(backend.control_socket, _ANSWER_TIMEOUT_S)
    try:
        answer = client.get(PATH) if request is None else client.post(PATH, wanted)
        return str(answer["token"])
    except NotReachable as error:
        from shardctl.token_signing import TokenSigner  # cryptography and jwt: only while the service is away

        name = os_user()
        signed = TokenSigner(backend).sign(subject=name, role=purpose.role, request=request, reason=purpose.reason)
        print_warning(f"{error}; {purpose.act} {purpose.target} is signed with this machine's key, as {name}")
        return signed.token
