"""What a cell refuses, in the words of the wire: outcome of a procedure -> status, code, sentence.

Procedures answer a command with an outcome instead of raising, because one refused command must not end its
neighbours' transaction. What they do raise uses the private SQLSTATE class RB, listed here.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cell.money import format_micros
from infra.runtime.problem import Problem

SQLSTATES: Mapping[str, str] = {
    "RB010": "the user exists with another e-mail address",
    "RB011": "the user left this cell",
    "RB012": "the user is halted",
    "RB020": "a gap in a venue session's report sequence",
    "RB030": "a session was to be ended before its close, or while a day order of it was open",
    "RB031": "somebody who is not the leading relay was to forget what was published",
    "RB032": "a reconciliation was to be recorded again with other findings",
    "RB040": "a step of an operation came from a former leader of the control plane",
    "RB041": "the cell was restored and is fenced",
    "RB900": "debits and credits of a journal entry differ",
}

_REFUSALS: Mapping[str, tuple[int, str]] = {
    "UNKNOWN_SYMBOL": (422, "no such symbol"),
    "SYMBOL_NOT_TRADABLE": (422, "the symbol is not tradable"),
    "SYMBOL_HALTED": (422, "trading in the symbol is halted"),
    "ACCOUNT_RESTRICTED": (422, "the account may only close positions and take deposits"),
    "INSUFFICIENT_BUYING_POWER": (422, "the order needs more buying power than the account has"),
    "INSUFFICIENT_SHARES": (422, "the order sells more shares than the account has free"),
    "NO_REFERENCE_PRICE": (422, "there is no recent price to size a market order with; a limit order needs none"),
    "MARKET_CLOSED": (422, "the market is closed; an ioc or fok order cannot wait for the open"),
    "PRICE_OUT_OF_BAND": (
        422,
        "{field}: more than {band_pct} % away from the reference price {reference_price}; "
        "prices from {lowest} to {highest} are taken",
    ),
    "POSITION_LIMIT": (
        422,
        "the account may have {limit} dollars of one symbol; its shares at the reference price and its open buys "
        "come to {current}, the order would add {required}",
    ),
    "ORDER_RATE_LIMIT": (
        422,
        "the account may place orders up to {limit} {unit} in {window_s} s and has placed {current} {unit}; "
        "send the order later, under a new idempotency key",
    ),
    "ORDER_VALUE_LIMIT": (422, "the order is worth more than one order may be"),
    "DUPLICATE_CLIENT_ORDER_ID": (422, "the client_order_id is in use by another order of this account"),
    "BALANCE_LIMIT": (422, "the account would hold more than an account may hold"),
    "ORDER_NOT_FOUND": (404, "no such order"),
    "ORDER_NOT_OPEN": (409, "the order has ended, or a cancel or replacement of it is pending"),
    "STALE_ETAG": (412, "the order has moved on since the version in If-Match; read it again"),
    "ORDER_NOT_REPLACEABLE": (422, "an order by amount cannot be replaced; cancel it and place another"),
    "QTY_BELOW_FILLED": (422, "the order has filled as much already; qty counts what has filled"),
    "IDEMPOTENCY_KEY_REUSED": (422, "the idempotency key was used with another request"),
}

_MONEY_FIGURES = frozenset(
    {"required", "available", "limit", "filled", "current", "reference_price", "lowest", "highest"}
)
_COUNTED = "orders"
"""The unit of figures that are no money."""


def refusal(outcome: str, figures: Mapping[str, object] | None, *, replayed: bool = False) -> Problem:
    """The problem that answers a refused command; a replay says so in its header, like any other answer."""
    status, detail = _REFUSALS[outcome]
    figures = figures or {}
    money = frozenset() if figures.get("unit") == _COUNTED else _MONEY_FIGURES
    shown = {
        key: format_micros(value) if key in money and isinstance(value, int) else value
        for key, value in figures.items()
    }
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    problem = Problem(status, outcome, detail.format_map(shown), headers=headers)
    problem.figures.update(shown)
    return problem


def missing_idempotency_key() -> Problem:
    return Problem(
        400,
        "MISSING_IDEMPOTENCY_KEY",
        "send X-Idempotency-Key: a new value per write, the same value when you retry it",
    )


def invalid_field(status: int, field: str, detail: str, **figures: object) -> Problem:
    return Problem(status, "INVALID_FIELD", f"{field}: {detail}", headers=None, field=field, **figures)


def precondition_required() -> Problem:
    return Problem(
        400, "PRECONDITION_REQUIRED", "send If-Match with the order's etag, so that no change of it is missed"
    )


def field_not_of_order(figures: Mapping[str, object], *, replayed: bool) -> Problem:
    """A replacement asks for a price that this order does not have, or has no more."""
    field = figures.get("field", "body")
    detail = f"{field}: a {figures.get('type')} order that is {figures.get('order_status')} has none to change"
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return Problem(422, "INVALID_FIELD", detail, headers=headers, field=field)


def misdirected(owner: str | None, epoch: int | None) -> Problem:
    """421: this cell does not own the user. The hint is a hint; the owner's own answer decides."""
    return Problem(421, "MISDIRECTED", "this cell does not own the user", owner=owner, epoch=epoch)


def user_halted(lease_ends_at: datetime | str | None) -> Problem:
    ends = lease_ends_at.isoformat() if isinstance(lease_ends_at, datetime) else lease_ends_at
    return Problem(
        503,
        "USER_HALTED",
        "the account is being moved; nothing was done, send it again",
        headers={"Retry-After": "1"},
        lease_ends_at=ends,
    )


def not_owned(outcome: str, figures: Mapping[str, Any] | None) -> Problem | None:
    """The answer, if the outcome is that the user is not this cell's, or not now; None for every other outcome."""
    known = figures or {}
    match outcome:
        case "NOT_FOUND":
            return user_not_found()
        case "DEPARTED":
            return misdirected(known.get("owner"), known.get("epoch"))
        case "USER_HALTED":
            return user_halted(known.get("lease_ends_at"))
    return None


def still_owed(cash_micros: int, shares: Mapping[str, int]) -> Problem:
    """The restriction stays: what is below zero must be made good first."""
    owed = {symbol: format_micros(-qty) for symbol, qty in sorted(shares.items())}
    if cash_micros < 0:
        owed = {"USD": format_micros(-cash_micros), **owed}
    shown = ", ".join(f"{amount} {unit}" for unit, amount in owed.items())
    return Problem(409, "STILL_OWED", f"the account still owes {shown}", headers=None, owed=owed)


def user_not_found() -> Problem:
    return Problem(404, "USER_NOT_FOUND", "no such user in this cell")


def report_not_found() -> Problem:
    return Problem(404, "REPORT_NOT_FOUND", "the quarantine holds no such report; it may have been retried already")


def transfer_not_found() -> Problem:
    return Problem(404, "TRANSFER_NOT_FOUND", "no such transfer of shares")


def transfer_decided(status: str, decided_at: str | None) -> Problem:
    """The first decision stands."""
    when = "at once" if decided_at is None else f"at {decided_at}"
    return Problem(
        409, "TRANSFER_DECIDED", f"the transfer was {status} {when}", headers=None,
        transfer_status=status, decided_at=decided_at,
    )  # fmt: skip


def overloaded(detail: str) -> Problem:
    return Problem(503, "OVERLOADED", detail, headers={"Retry-After": "1"})


def too_many_guesses(wait_s: float) -> Problem:
    return Problem(
        429,
        "RATE_LIMITED",
        "too many logins to this account were tried; nothing was checked",
        headers={"Retry-After": str(max(1, math.ceil(wait_s)))},
    )


def outcome_unknown() -> Problem:
    return Problem(
        503,
        "OUTCOME_UNKNOWN",
        "it was sent to the database and no answer came in time; ask again with the same idempotency key to learn "
        "what happened",
        headers={"Retry-After": "1"},
    )


def unavailable() -> Problem:
    return Problem(
        503,
        "CELL_UNAVAILABLE",
        "the cell's database does not answer; nothing was done",
        headers={"Retry-After": "1"},
    )


FENCED_SQLSTATE = "RB041"


def cell_fenced() -> Problem:
    """Restored from a backup: its books may be older than what the customer was told."""
    return Problem(
        503,
        "CELL_FENCED",
        "the cell was restored and takes no writes until it has been verified; nothing was done, send it again later",
        headers={"Retry-After": "30"},
    )


def cell_not_reconciled() -> Problem:
    return Problem(
        409, "NOT_RECONCILED", "everybody must have been asked by a reconciliation since the cell was restored"
    )


def cell_differs(verdict: object, run_id: object) -> Problem:
    return Problem(
        409, "FINDINGS", "the reconciliation since the cell was restored found differences", headers=None,
        verdict=verdict, run_id=run_id,
    )  # fmt: skip


def order_not_found() -> Problem:
    return refusal("ORDER_NOT_FOUND", None)


def body_too_large(limit_bytes: int) -> Problem:
    return Problem(413, "BODY_TOO_LARGE", f"a body has at most {limit_bytes} bytes", limit=limit_bytes)
