"""The market in which an own cell is measured: one symbol at one price, limit buys that rest below it, customers who
never run out of cash, and the batches in which they come.
"""

import uuid
from collections.abc import Sequence
from typing import Final

from infra.security.keys import ROUTE_FILE, load_key_ring
from infra.security.route_token import RouteTokenSigner
from loadtests.figures import MICROS
from loadtests.measurement.own_cell import NAME, OwnCell
from loadtests.measurement.queries import open_customers
from loadtests.measurement.stack_customers import sign_fresh

BATCH: Final = 64
"""Commands in a call, as many as a cell puts into one."""
IN_FLIGHT: Final = 2
"""Calls at once, as many as a cell has."""
USERS: Final = 1_280
"""Ten times what is in flight: a call seldom waits for the lock of a user in another."""
SYMBOL: Final = "KO"
PX_MICROS: Final = 62 * MICROS
"""Sixty-two dollars a share."""
LIMIT_PX: Final = 57 * MICROS
"""Below the price, so that orders rest, and inside the price band of ten percent."""
CASH_MICROS: Final = 9_000_000_000 * MICROS
"""Each customer's: no measurement ends because somebody has spent everything."""


async def open_in(cell: OwnCell, count: int) -> list[uuid.UUID]:
    """That many customers with cash. Raises MeasurementRefused."""
    return await open_customers(cell.service_dsn, count, cash_micros=CASH_MICROS, symbol=SYMBOL, px_micros=PX_MICROS)


def route_tokens(cell: OwnCell, users: Sequence[uuid.UUID]) -> list[str]:
    """For asking the cell's app server directly. Raises KeyFileInvalid."""
    signer = RouteTokenSigner(load_key_ring(cell.folder / "keys" / ROUTE_FILE))
    return sign_fresh(signer, NAME, 1, users)
