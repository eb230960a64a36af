"""The one list of what a user has in this cell: which tables travel with them, how a later change is found, when it is
digested; and which stay. A test compares it with the catalogue, so a new table keyed by user fails until it is listed.

How a change is found:
- LOG: rows are only added, under a number of the user's that grows: whatever is above the number of the last look.
- CHANGING: rows change; each keeps the transaction that wrote it last, and what the last look's snapshot does not see
  has changed (`changed_since_v1`). So nothing on the order path pays for being movable. None is deleted while a move
  has the user: pruning passes them over.
- WHOLE: few rows, some of them deleted by sweeps: copied whole at every look.
- ARCHIVED: as LOG, and nothing is added while a move has the user (archiving waits; a recall ends the move).
- WORK: what a relay, a worker or a sweep would act on: travels once, at the halt, and is kept apart until the user is
  active. Row numbers are given anew, in the same order.
`users` itself travels as the head of a frame, by name.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, LiteralString


class Change(StrEnum):
    LOG = "log"
    CHANGING = "changing"
    WHOLE = "whole"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class UserTable:
    """One table whose rows travel. `t` is the row in each condition; parameters are named."""

    name: LiteralString
    key: tuple[LiteralString, ...]
    """Of its unique key."""
    change: Change
    part: LiteralString
    """Which pages of the first copy bring it (`PARTS`); WHOLE tables are one page."""
    page: LiteralString = "true"
    """Which rows belong to the page `after`..`until` of its part."""
    mine: LiteralString = "t.user_id = %(user)s"
    """All of the user's rows, as an index finds them."""
    changed: LiteralString = "true"
    """Which rows came or changed: after `entry_seq` and `order_event_seq`, or by `{changed}`, the test of a row."""


_ENTRIES: Final[LiteralString] = "t.seq > %(after)s::bigint and t.seq <= %(until)s::bigint"
_POSTINGS: Final[LiteralString] = "t.entry_seq > %(after)s::bigint and t.entry_seq <= %(until)s::bigint"
_ORDERS: Final[LiteralString] = "t.order_id > %(after)s::uuid and t.order_id <= %(until)s::uuid"
_OF_ORDERS: Final[LiteralString] = (
    "t.order_id in (select o.order_id from brokerage.orders o where o.user_id = %(user)s"
    " and o.order_id > %(after)s::uuid and o.order_id <= %(until)s::uuid)"
)
_EVENTS_MINE: Final[LiteralString] = (
    # The index of events begins with the order.
    "t.user_id = %(user)s and t.order_id in (select o.order_id from brokerage.orders o where o.user_id = %(user)s)"
)
_EVENTS_CHANGED: Final[LiteralString] = (
    # An event is written with its order.
    "t.order_id in (select t.order_id from brokerage.orders t where t.user_id = %(user)s and {changed})"
    " and t.stream_seq > %(order_event_seq)s"
)


def short_name(table: str) -> str:
    """As a certificate spells it: `orders`, `archive_postings`."""
    schema, _, name = table.partition(".")
    return name if schema == "brokerage" else f"{schema}_{name}"


TABLES: Final = (
    UserTable("brokerage.orders", ("user_id", "order_id"), Change.CHANGING, "orders", _ORDERS, changed="{changed}"),
    UserTable(
        "brokerage.order_events", ("order_id", "seq"), Change.LOG, "orders", _OF_ORDERS, _EVENTS_MINE, _EVENTS_CHANGED
    ),
    UserTable(
        "brokerage.executions",
        ("user_id", "order_id", "venue", "session", "trade_date", "exec_id"),
        Change.CHANGING,
        "orders",
        _OF_ORDERS,
        changed="{changed}",
    ),
    UserTable("archive.order_events", ("user_id", "order_id", "seq", "month"), Change.ARCHIVED, "orders", _OF_ORDERS),
    UserTable(
        "archive.executions",
        ("user_id", "order_id", "venue", "session", "trade_date", "exec_id", "month"),
        Change.ARCHIVED,
        "orders",
        _OF_ORDERS,
    ),
    UserTable(
        "brokerage.journal_entries",
        ("user_id", "seq"),
        Change.LOG,
        "entries",
        _ENTRIES,
        changed="t.seq > %(entry_seq)s",
    ),
    UserTable(
        "brokerage.postings",
        ("user_id", "entry_seq", "line"),
        Change.LOG,
        "entries",
        _POSTINGS,
        changed="t.entry_seq > %(entry_seq)s",
    ),
    UserTable("archive.journal_entries", ("user_id", "seq", "month"), Change.ARCHIVED, "entries", _ENTRIES),
    UserTable("archive.postings", ("user_id", "entry_seq", "line", "month"), Change.ARCHIVED, "entries", _POSTINGS),
    UserTable(
        "brokerage.idempotency_keys",
        ("user_id", "key"),
        Change.CHANGING,
        "keys",
        "t.key > %(after)s::text and t.key <= %(until)s::text",
        changed="{changed}",
    ),
    UserTable("brokerage.positions", ("user_id", "symbol"), Change.WHOLE, "whole"),
    UserTable("brokerage.deposits", ("user_id", "deposit_id"), Change.WHOLE, "whole"),
    UserTable("brokerage.share_transfers", ("user_id", "transfer_id"), Change.WHOLE, "whole"),
    UserTable("brokerage.unsettled_lots", ("user_id", "settles_on"), Change.WHOLE, "whole"),
    UserTable("brokerage.lifted_restrictions", ("user_id", "write_seq"), Change.WHOLE, "whole"),
    UserTable("brokerage.customers", ("user_id",), Change.WHOLE, "whole"),
    UserTable("brokerage.refresh_families", ("user_id", "family_id"), Change.WHOLE, "whole"),
    UserTable("brokerage.login_sources", ("user_id", "source"), Change.WHOLE, "whole"),
)
"""In the order in which rows are written: none refers to another, so any order would do."""

WORK: Final[tuple[LiteralString, ...]] = (
    "brokerage.outbox",
    "brokerage.armed_stops",
    "brokerage.queued_orders",
    "brokerage.reached_stops",
)

UNFINISHED: Final[tuple[LiteralString, ...]] = (
    "brokerage.inbox",
    "brokerage.early_reports",
    "brokerage.quarantined_reports",
    "brokerage.venue_instructions",
)
"""A user with a row in one of them does not leave yet (`unfinished_business_v1`)."""

STAYING: Final[tuple[LiteralString, ...]] = (
    "brokerage.users",  # the head travels; the row stays, and is the tombstone
    "brokerage.departures",
    "brokerage.arrivals",
    "brokerage.privileged_acts",  # what operators did in this cell is this cell's record
    "brokerage.retried_reports",  # likewise
)


@dataclass(frozen=True, slots=True)
class Part:
    """One way through a user's rows, page by page."""

    name: LiteralString
    first: object
    """Before everything."""
    until: LiteralString | None
    """Where the page that begins after `after` ends: one value, null when nothing is left. None: there is one page."""


ROWS_OF_A_PAGE: Final = 500
"""Orders or entries: with their events, executions and postings some thousand rows, a megabyte."""

PARTS: Final = (
    Part(
        "entries",
        0,
        "select case when u.entry_seq > %(after)s::bigint then least(u.entry_seq, %(after)s::bigint + %(rows)s) end"
        " from brokerage.users u where u.user_id = %(user)s",
    ),
    Part(
        "orders",
        "00000000-0000-0000-0000-000000000000",
        "select max(p.order_id::text) from (select o.order_id from brokerage.orders o where o.user_id = %(user)s"
        " and o.order_id > %(after)s::uuid order by o.order_id limit %(rows)s) p",
    ),
    Part(
        "keys",
        "",
        "select max(p.key) from (select k.key from brokerage.idempotency_keys k where k.user_id = %(user)s"
        " and k.key > %(after)s::text order by k.key limit %(rows)s) p",
    ),
    Part("whole", None, None),
)
