"""Compare a cell's orders with the venue's, page by page in order of id.

The two are read a moment apart while orders trade. So what differs is read again from both sides until it is equal.
What still differs after the last recheck (5 s) is a difference: a report takes milliseconds to reach the books.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from shardctl.cell_admin import CellAdmin
from shardctl.exchange_admin import ExchangeAdmin

PAGE: Final = 1_000
"""Orders per request, the most that the exchange gives and the cell compares at once."""
RECHECKS_MAX: Final = 5
RECHECK_PAUSE_S: Final = 1.0
"""Between looks at what differed: a report under way is applied within it. Five of them (`RECHECKS_MAX`) outlast a
restart of the worker."""
NAMED_MAX: Final = 200
"""Orders named in one request: they stand in the URL, 37 bytes each, and servers limit a request line to 8 KB."""
UNCONFIRMED_MAX: Final = 5_000
"""Differences that are read again. More at once do not come from trading meanwhile, and are reported as they are."""
_LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_PATH: Final = "/operator/v1/reconciliations/comparisons"


@dataclass(frozen=True, slots=True)
class VenueComparison:
    """How many orders of the venue were compared, how many differ, and at most `UNCONFIRMED_MAX` of these."""

    compared: int
    differences: int
    sample: tuple[dict[str, Any], ...]


async def compare_with_venue(cell: str, admin: CellAdmin, exchange: ExchangeAdmin) -> VenueComparison:
    """Compare every order of the venue and of the cell. Raises NotReachable if one side does not answer, Refused."""
    compared, found = 0, 0
    unconfirmed: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await exchange.orders(after=after, limit=PAGE)
        until = page["next_after"] or _LAST_ID
        different = await _differences(cell, admin, page["items"], after or None, until)
        found += len(different)
        unconfirmed += different[: UNCONFIRMED_MAX - len(unconfirmed)]
        compared += sum(order["session"] == cell for order in page["items"])
        if page["next_after"] is None:
            break
        after = page["next_after"]
    rechecks = RECHECKS_MAX if found == len(unconfirmed) else 0
    while unconfirmed and rechecks:
        await asyncio.sleep(RECHECK_PAUSE_S)
        unconfirmed = await _recheck(cell, admin, exchange, [row["order_id"] for row in unconfirmed])
        found, rechecks = len(unconfirmed), rechecks - 1
    return VenueComparison(compared, found, tuple(unconfirmed))


async def accounts_of(exchange: ExchangeAdmin, order_ids: Sequence[str]) -> list[str]:
    """Whose each of these orders is, as the venue says: an order that the cell does not know names nobody here."""
    found: list[str] = []
    for start in range(0, len(order_ids), NAMED_MAX):
        found += [
            order["account"] for order in (await exchange.named_orders(order_ids[start : start + NAMED_MAX]))["items"]
        ]
    return found


async def _recheck(
    cell: str, admin: CellAdmin, exchange: ExchangeAdmin, order_ids: Sequence[str]
) -> list[dict[str, Any]]:
    still = []
    for start in range(0, len(order_ids), NAMED_MAX):
        named = order_ids[start : start + NAMED_MAX]
        known = (await exchange.named_orders(named))["items"]
        still += await _differences(cell, admin, known, None, None)
        # An order that the venue does not know is asked for as the only one of a range of ids.
        for absent in set(named) - {order["cl_ord_id"] for order in known}:
            still += await _differences(cell, admin, [], _before(absent), absent)
    return still


def _before(order_id: str) -> str:
    """The id just before: the lower end of a range that holds only this one."""
    digits = f"{int(order_id.replace('-', ''), 16) - 1:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


async def _differences(
    cell: str, admin: CellAdmin, venue_orders: Sequence[dict[str, Any]], after: str | None, until: str | None
) -> list[dict[str, Any]]:
    orders = [
        {
            "order_id": order["cl_ord_id"],
            "session": order["session"],
            "open": order["open"],
            "cum_qty": order["cum_qty"],
            "cum_cost": order["cum_cost"],
            "executions": order["executions"],
        }
        for order in venue_orders
    ]
    answer = await admin.call(cell, "POST", _PATH, {"orders": orders, "after": after, "until": until})
    found: list[dict[str, Any]] = answer["differences"]
    return found
