"""Order states and the one table of moves between them.

The database holds the same table (`brokerage.order_transitions`); a test proves them equal. The late-fill edges out of
an end (`cancelled -> filled`, and the end to itself for a partial one) exist because money follows the venue, and so
do those for a trade that it takes back or corrects (`partially_filled -> routed`, `filled -> cancelled`, `filled ->
filled`). A replacement begins as `pending_replace`, like the order that it replaces, and is live (`routed`) once the
venue says so.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class OrderStatus(StrEnum):
    PENDING = "pending"
    VALIDATED = "validated"
    QUEUED = "queued"
    ARMED = "armed"
    FUNDS_HELD = "funds_held"
    ROUTED = "routed"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"
    FAILED = "failed"


_S = OrderStatus

TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.VALIDATED, _S.FAILED}),
        _S.VALIDATED: frozenset({_S.FUNDS_HELD, _S.QUEUED, _S.ARMED, _S.FAILED, _S.PENDING_REPLACE}),
        _S.QUEUED: frozenset({_S.FUNDS_HELD, _S.CANCELLED, _S.EXPIRED, _S.REPLACED}),
        _S.ARMED: frozenset({_S.FUNDS_HELD, _S.CANCELLED, _S.EXPIRED, _S.REPLACED}),
        _S.FUNDS_HELD: frozenset({_S.ROUTED, _S.CANCELLED, _S.EXPIRED, _S.FAILED, _S.REPLACED}),
        _S.ROUTED: frozenset(
            {
                _S.PARTIALLY_FILLED,
                _S.FILLED,
                _S.REJECTED,
                _S.CANCELLED,
                _S.EXPIRED,
                _S.PENDING_CANCEL,
                _S.PENDING_REPLACE,
                _S.FAILED,
            }
        ),
        _S.PARTIALLY_FILLED: frozenset(
            {
                _S.PARTIALLY_FILLED,
                _S.FILLED,
                _S.CANCELLED,
                _S.EXPIRED,
                _S.PENDING_CANCEL,
                _S.PENDING_REPLACE,
                _S.ROUTED,
            }
        ),
        _S.PENDING_CANCEL: frozenset(
            {_S.PENDING_CANCEL, _S.FILLED, _S.CANCELLED, _S.EXPIRED, _S.REJECTED, _S.ROUTED, _S.PARTIALLY_FILLED}
        ),
        _S.PENDING_REPLACE: frozenset(
            {
                _S.PENDING_REPLACE,
                _S.FILLED,
                _S.REPLACED,
                _S.CANCELLED,
                _S.EXPIRED,
                _S.REJECTED,
                _S.ROUTED,
                _S.PARTIALLY_FILLED,
            }
        ),
        _S.CANCELLED: frozenset({_S.CANCELLED, _S.FILLED}),
        _S.EXPIRED: frozenset({_S.EXPIRED, _S.FILLED}),
        _S.REJECTED: frozenset({_S.REJECTED, _S.FILLED}),
        _S.REPLACED: frozenset({_S.REPLACED, _S.FILLED}),
        _S.FILLED: frozenset({_S.FILLED, _S.CANCELLED}),
        _S.FAILED: frozenset(),
    }
)

CLOSED = frozenset({_S.FILLED, _S.CANCELLED, _S.EXPIRED, _S.REJECTED, _S.REPLACED, _S.FAILED})
OPEN = frozenset(OrderStatus) - CLOSED


def may_follow(before: OrderStatus, after: OrderStatus) -> bool:
    """Is `before -> after` in the table?"""
    return after in TRANSITIONS[before]
