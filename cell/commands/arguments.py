"""What each kind of command tells its procedure: one row of the arrays that a batch is sent as.

Fields stand in the order in which the statement names the procedure's parameters, and are called like them:
`limit_px` is one of `p_limit_pxs`. `Procedure` compares the two when it is made, so a column that is moved on one side
only fails the start, instead of a limit price being taken for a stop price.
"""

from typing import NamedTuple
from uuid import UUID


class PlaceArguments(NamedTuple):
    """Quantities in micro-shares, prices and the notional in micro-dollars."""

    client_order_id: str | None
    symbol: str
    side: str
    type: str
    time_in_force: str
    order_qty: int | None
    limit_px: int | None
    stop_px: int | None
    notional: int | None


class CancelArguments(NamedTuple):
    order_id: UUID


class ReplaceArguments(NamedTuple):
    """`etag`: the version that must be the order's, None for any. The others: None leaves them as they are."""

    order_id: UUID
    etag: int | None
    order_qty: int | None
    limit_px: int | None
    stop_px: int | None
    time_in_force: str | None
    client_order_id: str | None


class DepositArguments(NamedTuple):
    """In micro-dollars."""

    amount: int


class TransferArguments(NamedTuple):
    """In micro-shares; the cost of one share in micro-dollars."""

    symbol: str
    qty: int
    unit_cost: int


Arguments = PlaceArguments | CancelArguments | ReplaceArguments | DepositArguments | TransferArguments
