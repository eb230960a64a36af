"""A customer's write as a value, how each kind of it is called, and what comes back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, LiteralString
from uuid import UUID

from cell.commands.arguments import (
    Arguments,
    CancelArguments,
    DepositArguments,
    PlaceArguments,
    ReplaceArguments,
    TransferArguments,
)
from cell.order_log import EVERY_HUNDREDTH, OrderLog
from infra.runtime.logs import RequestIds, id_texts


class CommandKind(StrEnum):
    """What a command asks for; the order of members is the order of service of kinds that have waited as long."""

    CANCEL = "cancel"
    REPLACE = "replace"
    PLACE = "place"
    DEPOSIT = "deposit"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Command:
    """One customer's one write. `arguments` are the procedure's columns after user, key and fingerprint."""

    kind: CommandKind
    user_id: UUID
    key: str
    fingerprint: bytes
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the procedure said of one command."""

    outcome: str
    figures: Mapping[str, Any] | None
    resource_id: UUID | None
    at: datetime
    replayed: bool


OUTCOMES: Final[LiteralString] = "select ordinal, outcome, figures, resource_id, at, replayed from "
"""Of every procedure: a command's place in the batch, from 1, and the fields of its `Outcome`."""
_ARRAY: Final = re.compile(r"(p_\w+) => %b::")
_REQUESTS: Final = ("p_request_ids", "p_trace_ids")
_REQUESTS_SQL: Final[LiteralString] = "p_request_ids => %b::text[], p_trace_ids => %b::text[], p_log_one_in => %s, "
_EVERY_COMMAND: Final = ("p_user_ids", "p_keys", "p_fingerprints")
_IRREGULAR: Final = {"time_in_force": "p_times_in_force"}


@dataclass(frozen=True, slots=True)
class Procedure:
    """How a kind is called: the columns' arrays first, then those of the requests if it makes orders, then `constants`,
    then the time of the market's day if the kind depends on it, then whether to wait for locks. What is recorded has
    the database's time, never one of these."""

    sql: LiteralString
    """Names every parameter, so that their order in SQL does not matter."""
    arguments: type[Arguments]
    constants: tuple[Any, ...] = ()
    asks_the_market: bool = False
    makes_orders: bool = False
    """New orders' rows, which keep the request that placed them if they are picked (`cell/order_log.py`)."""

    def __post_init__(self) -> None:
        """Raises ValueError unless the arrays are those of `arguments`, in their order."""
        wanted = (*_EVERY_COMMAND, *(_IRREGULAR.get(field, f"p_{field}s") for field in self.arguments._fields))
        wanted += _REQUESTS if self.makes_orders else ()
        if tuple(_ARRAY.findall(self.sql)) != wanted:
            raise ValueError(f"other columns than {self.arguments.__name__} has: {self.sql}")


def procedures(
    *,
    accept_transfers: bool,
    reference_age_max_s: float,
    market_hours: str = "always",
    order_log: OrderLog = EVERY_HUNDREDTH,
) -> Mapping[CommandKind, Procedure]:
    """The cell's write procedures for customers' commands."""
    return {
        CommandKind.PLACE: Procedure(
            OUTCOMES + "place_orders_v1("
            "p_user_ids => %b::uuid[], p_keys => %b::text[], p_fingerprints => %b::bytea[], "
            "p_client_order_ids => %b::text[], p_symbols => %b::text[], p_sides => %b::text[], p_types => %b::text[], "
            "p_times_in_force => %b::text[], p_order_qtys => %b::bigint[], p_limit_pxs => %b::bigint[], "
            "p_stop_pxs => %b::bigint[], p_notionals => %b::bigint[], "
            + _REQUESTS_SQL
            + "p_reference_age_max => make_interval(secs => %s), p_market_hours => %s, p_at => %s, p_wait => %s)",
            PlaceArguments,
            constants=(order_log.one_in, reference_age_max_s, market_hours),
            asks_the_market=True,
            makes_orders=True,
        ),
        CommandKind.CANCEL: Procedure(
            OUTCOMES + "cancel_orders_v1("
            "p_user_ids => %b::uuid[], p_keys => %b::text[], p_fingerprints => %b::bytea[], p_order_ids => %b::uuid[], "
            "p_wait => %s)",
            CancelArguments,
        ),
        CommandKind.REPLACE: Procedure(
            OUTCOMES + "replace_orders_v1("
            "p_user_ids => %b::uuid[], p_keys => %b::text[], p_fingerprints => %b::bytea[], p_order_ids => %b::uuid[], "
            "p_etags => %b::integer[], p_order_qtys => %b::bigint[], p_limit_pxs => %b::bigint[], "
            "p_stop_pxs => %b::bigint[], p_times_in_force => %b::text[], p_client_order_ids => %b::text[], "
            + _REQUESTS_SQL
            + "p_reference_age_max => make_interval(secs => %s), p_market_hours => %s, p_at => %s, p_wait => %s)",
            ReplaceArguments,
            constants=(order_log.one_in, reference_age_max_s, market_hours),
            asks_the_market=True,
            makes_orders=True,
        ),
        CommandKind.DEPOSIT: Procedure(
            OUTCOMES + "deposit_cash_v1("
            "p_user_ids => %b::uuid[], p_keys => %b::text[], p_fingerprints => %b::bytea[], p_amounts => %b::bigint[], "
            "p_wait => %s)",
            DepositArguments,
        ),
        CommandKind.TRANSFER: Procedure(
            OUTCOMES + "transfer_shares_v1("
            "p_user_ids => %b::uuid[], p_keys => %b::text[], p_fingerprints => %b::bytea[], p_symbols => %b::text[], "
            "p_qtys => %b::bigint[], p_unit_costs => %b::bigint[], p_accept => %s, p_wait => %s)",
            TransferArguments,
            constants=(accept_transfers,),
        ),
    }


def bind(
    procedure: Procedure,
    commands: Sequence[Command],
    requests: Sequence[RequestIds],
    *,
    at: datetime | None,
    wait: bool | None,
) -> tuple[Any, ...]:
    """The parameters of one call for these commands, a column each; `requests` are those that brought them. `at`: which
    session of the market it is; None: what the database's clock says under the locks. `wait` for locks; None (of orders
    that are placed): a preview, which takes none and writes nothing."""
    columns = zip(*(command.arguments for command in commands), strict=True)
    return (
        [command.user_id for command in commands],
        [command.key for command in commands],
        [command.fingerprint for command in commands],
        *(list(column) for column in columns),
        *(map(list, zip(*map(id_texts, requests), strict=True)) if procedure.makes_orders else ()),
        *procedure.constants,
        *([at] if procedure.asks_the_market else []),
        wait,
    )
