"""Refuse a former leader of the control plane: steps of operations carry the number of their lease, people none.

The guard stands before every operator route, so a step is refused before it begins. It does not hold while the step
works: what must not be committed after a change of leaders calls `meet_leader_v1` in its own transaction too.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, LiteralString

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from infra.runtime.database import Pool
from infra.runtime.operator_api import fence_of
from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseRefused, call

_MEET: Final[LiteralString] = "select meet_leader_v1(%s)"
_FORMER: Final = "RB040"


def refuse_former_leaders(
    pool: Pool,
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]:
    """A Litestar guard, after that of the role. Raises Problem 409 FORMER_LEADER. (No object: Litestar copies guards
    with all that they hold, and a copy of a pool is closed.)"""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        number = fence_of(connection)
        if number is None:
            return
        try:
            await call(pool, _MEET, [number])
        except DatabaseRefused as error:
            if error.sqlstate != _FORMER:
                raise
            raise Problem(409, "FORMER_LEADER", f"lease {number} is over: another leads") from error

    return guard
