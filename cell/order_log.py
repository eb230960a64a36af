"""Which orders leave a line in the log at each of their steps: one in so many, the same ones in every process.

The choice is the order id's alone, so whoever finds an order in an app server's log (with the request and trace id of
the command) finds it in the worker's and in the relay's. These two know no request: the order's row keeps the ids of
the one that placed it, if the order is picked, and they are read when a line is written. So an order that leaves no
lines costs nothing for it.

Under failure: a line whose ids cannot be read has none; it is written, and nothing waits longer than `READ_WITHIN_S`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

from infra.runtime.database import Pool
from infra.runtime.procedures import DatabaseFailure, connected

ONE_IN: Final = 100
"""As in the router's access log. A line costs some 25 microseconds, an order's share of it a quarter of one."""
READ_WITHIN_S: Final = 0.2
"""For a connection to read the ids with: worker and relay have pools of their own, so a wait means trouble there."""
_RANDOM_BITS: Final = 0xFFFF_FFFF
_RANDOM_DIGITS: Final = 8
"""The end of an order id is random, whatever its version; these many hex digits of it are as many bits."""
_IDS: Final[LiteralString] = """
select order_id, client_order_id, user_id, request_id, trace_id
  from brokerage.orders where order_id = any(%b::uuid[])
"""


@dataclass(frozen=True, slots=True)
class OrderLog:
    """Asked for every step of every order."""

    one_in: int = ONE_IN

    def picks(self, order_id: UUID) -> bool:
        return (order_id.int & _RANDOM_BITS) % self.one_in == 0

    def picks_text(self, order_id: str) -> bool:
        """As `picks`, of an id in its one spelling."""
        return int(order_id[-_RANDOM_DIGITS:], 16) % self.one_in == 0


EVERY_HUNDREDTH: Final = OrderLog()
"""What the settings say without a value of their own."""


Steps = Sequence[tuple[UUID, Mapping[str, Any]]]
"""An order that is picked, and what its line says of the step."""


async def leave_lines(pool: Pool, log: logging.Logger, event: str, steps: Steps) -> None:
    """A line for each, with the ids of order, client order, user, request and trace. Raises nothing: what was done is
    done."""
    if not steps:
        return
    known: dict[UUID, dict[str, Any]] = {}
    try:
        async with connected(pool, within_s=READ_WITHIN_S) as connection:
            cursor = await connection.execute(_IDS, ([order_id for order_id, _ in steps],))
            names = [column.name for column in cursor.description or ()]
            async for row in cursor:
                known[row[0]] = {name: value for name, value in zip(names, row, strict=True) if value is not None}
    except DatabaseFailure as error:
        log.warning("the ids of %d orders could not be read for their lines", len(steps), exc_info=error)
    for order_id, fields in steps:
        log.info(event, extra={"order_id": order_id, **known.get(order_id, {}), **fields})
