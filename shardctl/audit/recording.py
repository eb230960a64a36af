"""Record what a command does without the control service: before it is done, who does what and why; afterwards, how it
ended.

An act that cannot be recorded is not begun: NotReachable, with the command that brings the control database back. Two
exceptions, both said on standard error: an operator gives `--unrecorded` (a leaked key must be dropped even if that
database is lost), and the outcome of an act that has been done (the record then shows an act without an outcome). Only
names and options are recorded, never a secret.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from infra.backends.backend import Backend
from infra.backends.cell_spec import SpecInvalid
from infra.security.free_text import FreeTextRefused, check_free_text
from shardctl.audit.limits import REASON_MAX, SUBJECT_MAX
from shardctl.audit.queries import Who, open_audit
from shardctl.errors import Interrupted, NotReachable, Refused, UsageError
from shardctl.output import print_warning
from shardctl.persons import os_user
from shardctl.shardmap.errors import ShardMapRefused
from shardctl.stack.current import control_dsn

_ROLE: Final = "admin"
"""Whoever can open the control database as its owner can do anything."""
_WAY: Final = "command"


@asynccontextmanager
async def recorded_act(
    backend: Backend,
    act: str,
    target: str,
    *,
    reason: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    unrecorded: bool = False,
) -> AsyncIterator[None]:
    """Around the act itself. Raises NotReachable before it if it cannot be recorded, unless `unrecorded`; UsageError
    for a reason or an actor that cannot be; what the act raises goes through unchanged."""
    attempt = await begin_act(backend, act, target, reason=reason, arguments=arguments, unrecorded=unrecorded)
    try:
        yield
    except BaseException as error:
        await _end(backend, attempt, outcome_of(error), str(error) or type(error).__name__)
        raise
    await _end(backend, attempt, "done", None)


def outcome_of(error: BaseException) -> str:
    """Refused: nothing was done. Interrupted: it may be half done and be resumed. Failed: everything else. Pure."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | Interrupted):
        return "interrupted"
    if isinstance(error, Refused | UsageError | ShardMapRefused | SpecInvalid):
        return "refused"
    return "failed"


async def begin_act(
    backend: Backend,
    act: str,
    target: str,
    *,
    reason: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    unrecorded: bool = False,
) -> int | None:
    """The first half alone, for an act that takes the record's database away with it. None: not recorded. Raises
    NotReachable, UsageError for an actor or a reason that cannot be recorded."""
    who = os_user()
    if not 0 < len(who) <= SUBJECT_MAX:
        raise UsageError(f"an actor has 1 to {SUBJECT_MAX} characters, and the name of this user has {len(who)}")
    if reason is not None:
        check_reason(reason)
    try:
        async with open_audit(control_dsn(backend)) as audit:
            by = Who(who, _ROLE, _WAY)
            return await audit.begin(by, act, target, reason=reason, arguments=arguments or {})
    except NotReachable as error:
        if not unrecorded:
            raise NotReachable(f"{error}; what is not recorded is not done: `shardctl up` first") from error
        print_warning(f"not recorded: {error}")
        return None


def check_reason(reason: str) -> None:
    """Raises UsageError for one that cannot be recorded."""
    if not 0 < len(reason) <= REASON_MAX:
        raise UsageError(f"a reason has 1 to {REASON_MAX} characters, not {len(reason)}")
    try:
        check_free_text(reason)
    except FreeTextRefused as error:
        raise UsageError(f"a reason is read by others: {error}") from error


async def _end(backend: Backend, attempt: int | None, outcome: str, detail: str | None) -> None:
    if attempt is None:
        return
    try:
        async with open_audit(control_dsn(backend)) as audit:
            await audit.end(attempt, outcome, detail)
    except NotReachable as error:
        print_warning(f"the outcome of row {attempt} ({outcome}) was not recorded: {error}")
