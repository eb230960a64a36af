"""What bodies of orders may look like, for the OpenAPI document.

It says once more what the parsers take; a test compares the fields.
"""

from typing import Any, Final

from litestar.openapi.spec import Schema

from cell.money import AMOUNT_MAX_MICROS, MICROS
from cell.openapi import (
    CLIENT_ORDER_ID,
    SYMBOL,
    amount,
    has,
    has_not,
    json_body,
    or_null,
    price,
    text,
)

_TIMES_IN_FORCE: Final = ("day", "gtc", "ioc", "fok")
_ORDER_CALLS: Final = ("get_order", "cancel_order", "replace_order", "list_order_events", "list_executions")


def _typed(kind: str, *shapes: Schema) -> Schema:
    return Schema(all_of=[Schema(properties={"type": text("", choices=(kind,))}), *shapes])


_QTY: Final = Schema(all_of=[has("qty"), has_not("notional")])
_QTY_OR_NOTIONAL: Final = Schema(any_of=[_QTY, Schema(all_of=[has("notional"), has_not("qty")])])
_LIMIT_PRICE: Final = price("limit and stop_limit orders: two decimals from $1, four below")
_PLACE: Final[dict[str, Any]] = {
    "required": {
        "symbol": SYMBOL,
        "side": text("", choices=("buy", "sell")),
        "type": text("", choices=("market", "limit", "stop", "stop_limit")),
    },
    "optional": {
        "qty": or_null(amount("shares, at most six decimals; either this or notional")),
        "notional": or_null(
            amount(
                "dollars to trade for, at least 1; market and limit orders; either this or qty",
                most=AMOUNT_MAX_MICROS // MICROS,
            )
        ),
        "limit_price": or_null(_LIMIT_PRICE),
        "stop_price": or_null(price("stop and stop_limit orders: the last price that triggers them")),
        "time_in_force": text("day if absent", choices=_TIMES_IN_FORCE),
        "client_order_id": or_null(CLIENT_ORDER_ID),
    },
    "shapes": [
        _typed("market", _QTY_OR_NOTIONAL, has_not("limit_price", "stop_price")),
        _typed("limit", _QTY_OR_NOTIONAL, has("limit_price"), has_not("stop_price")),
        _typed("stop", _QTY, has("stop_price"), has_not("limit_price")),
        _typed("stop_limit", _QTY, has("limit_price"), has("stop_price")),
    ],
    "example": {"symbol": "AAPL", "side": "buy", "type": "market", "qty": "1"},
}
PLACING = json_body(**_PLACE, order_calls=_ORDER_CALLS)
PREVIEWING = json_body(**_PLACE)
REPLACING = json_body(
    {},
    {
        "qty": or_null(amount("the order's whole in shares, what has filled included")),
        "limit_price": or_null(_LIMIT_PRICE),
        "stop_price": or_null(price("stop and stop_limit orders that have not been triggered")),
        "time_in_force": or_null(text("as it is if absent", choices=_TIMES_IN_FORCE)),
        "client_order_id": or_null(CLIENT_ORDER_ID),
    },
    shapes=[has("qty"), has("limit_price"), has("stop_price"), has("time_in_force")],
    example={"qty": "2"},
    order_calls=_ORDER_CALLS,
)
