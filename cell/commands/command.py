"""A customer's write as a value, how each kind of it is called, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString
from uuid import UUID


class CommandKind(StrEnum):
    """What a command asks for; the order of members is the order of service of kinds that have waited as long."""

    CANCEL = "cancel"
    REPLACE = "replace"
    PLACE = "place"
    DEPOSIT = "deposit"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Command:
    """One customer's one deed. `arguments` are the procedure's columns after user, key and fingerprint."""

    kind: CommandKind
    user_id: UUID
    key: str
    fingerprint: bytes
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the procedure said of one command."""

    outcome: str
    figures: Mapping[str, Any] | None
    resource_id: UUID | None
    at: datetime
    replayed: bool


@dataclass(frozen=True, slots=True)
class Procedure:
    """How a kind is called: the columns' arrays first, then `constants`, then the time of the market's day if the kind
    depends on it, then whether to wait for locks. What is recorded has the database's time, never one of these."""

    sql: LiteralString
    columns: int
    constants: tuple[Any, ...] = ()
    asks_the_market: bool = False


def procedures(
    *, accept_transfers: bool, reference_age_max_s: float, market_hours: str = "always"
) -> Mapping[CommandKind, Procedure]:
    """The cell's write procedures for customers' commands."""
    return {
        CommandKind.PLACE: Procedure(
            "select * from brokerage.place_orders_v1(%b::uuid[], %b::text[], %b::bytea[], %b::text[], "
            "%b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], p_stop_pxs => %b::bigint[], "
            "p_notionals => %b::bigint[], p_reference_age_max => make_interval(secs => %s), p_market_hours => %s, "
            "p_at => %s, p_wait => %s)",
            columns=9,
            constants=(reference_age_max_s, market_hours),
            asks_the_market=True,
        ),
        CommandKind.CANCEL: Procedure(
            "select * from brokerage.cancel_orders_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], p_wait => %s)",
            columns=1,
        ),
        CommandKind.REPLACE: Procedure(
            "select * from brokerage.replace_orders_v1(%b::uuid[], %b::text[], %b::bytea[], %b::uuid[], "
            "%b::integer[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[], "
            "p_client_order_ids => %b::text[], p_reference_age_max => make_interval(secs => %s), p_market_hours => %s, "
            "p_at => %s, p_wait => %s)",
            columns=7,
            constants=(reference_age_max_s, market_hours),
            asks_the_market=True,
        ),
        CommandKind.DEPOSIT: Procedure(
            "select * from brokerage.deposit_cash_v1(%b::uuid[], %b::text[], %b::bytea[], %b::bigint[], p_wait => %s)",
            columns=1,
        ),
        CommandKind.TRANSFER: Procedure(
            "select * from brokerage.transfer_shares_v1(%b::uuid[], %b::text[], %b::bytea[], %b::text[], "
            "%b::bigint[], %b::bigint[], p_accept => %s, p_wait => %s)",
            columns=3,
            constants=(accept_transfers,),
        ),
    }


def bind(
    procedure: Procedure, commands: Sequence[Command], *, at: datetime | None, wait: bool | None
) -> tuple[Any, ...]:
    """The parameters of one call for these commands, a column each. `at`: which session of the market it is; None: what
    the database's clock says under the locks. `wait` for locks; None (of orders that are placed): a preview, which
    takes none and writes nothing."""
    columns = zip(*(command.arguments for command in commands), strict=True)
    return (
        [command.user_id for command in commands],
        [command.key for command in commands],
        [command.fingerprint for command in commands],
        *(list(column) for column in columns),
        *procedure.constants,
        *([at] if procedure.asks_the_market else []),
        wait,
    )
