"""A cell's orders against the venue's, page by page in order of id, both sides at once.

The two are read a moment apart while orders trade. So what differs is looked at again, on both sides, until it is
equal; what is still different after the last look is a difference, because a report takes milliseconds, not seconds.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from shardctl.cell_admin import CellAdmin
from shardctl.exchange_admin import ExchangeAdmin

PAGE: Final = 1_000
LOOKS: Final = 5
LOOK_PAUSE_S: Final = 1.0
NAMED_MAX: Final = 200
"""Orders named in one question: they stand in the address."""
DOUBTED_MAX: Final = 5_000
"""Differences that are looked at again; more than that many at once are no trades in flight."""
_LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_PATH: Final = "/operator/v1/reconciliations/comparisons"


@dataclass(frozen=True, slots=True)
class VenueComparison:
    """How many orders of the venue were looked at, what is left different, and some of it."""

    compared: int
    differences: int
    sample: tuple[dict[str, Any], ...]


async def compare_with_venue(cell: str, admin: CellAdmin, exchange: ExchangeAdmin) -> VenueComparison:
    """Every order of the venue and of the cell. Raises NotReachable if one side does not answer."""
    compared, found = 0, 0
    doubted: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await exchange.orders(after=after, limit=PAGE)
        until = page["next_after"] or _LAST_ID
        different = await _differences(cell, admin, page["items"], after or None, until)
        found += len(different)
        doubted += different[: DOUBTED_MAX - len(doubted)]
        compared += sum(order["session"] == cell for order in page["items"])
        if page["next_after"] is None:
            break
        after = page["next_after"]
    looks = LOOKS if found == len(doubted) else 0
    while doubted and looks:
        await asyncio.sleep(LOOK_PAUSE_S)
        doubted = await _look_again(cell, admin, exchange, [row["order_id"] for row in doubted])
        found, looks = len(doubted), looks - 1
    return VenueComparison(compared, found, tuple(doubted))


async def _look_again(
    cell: str, admin: CellAdmin, exchange: ExchangeAdmin, order_ids: Sequence[str]
) -> list[dict[str, Any]]:
    still = []
    for start in range(0, len(order_ids), NAMED_MAX):
        named = order_ids[start : start + NAMED_MAX]
        told = (await exchange.named_orders(named))["items"]
        still += await _differences(cell, admin, told, None, None)
        for absent in set(named) - {order["cl_ord_id"] for order in told}:  # alone between two ids: itself
            still += await _differences(cell, admin, [], _before(absent), absent)
    return still


def _before(order_id: str) -> str:
    """The id just before: the lower end of a range that holds only this one."""
    digits = f"{int(order_id.replace('-', ''), 16) - 1:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


async def _differences(
    cell: str, admin: CellAdmin, told: Sequence[dict[str, Any]], after: str | None, until: str | None
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
        for order in told
    ]
    answer = await admin.call(cell, "POST", _PATH, {"orders": orders, "after": after, "until": until})
    found: list[dict[str, Any]] = answer["differences"]
    return found
