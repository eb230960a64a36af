"""Users who stayed read-only when a restored cell was opened: what is missing of them, and letting them write again.

Kafka holds events of theirs that the books have lost. Who is released goes on behind the numbers of those events, so no
event's id is given to two; the events themselves are lost for the books, and whoever reviews that (a deposit that a
bank knows of, an order that a customer saw) decides. Nobody is released while the venue and the cell do not agree about
one of their orders: shares and money would be in the books of one and not of the other. Reports that wait for a user
explain such a difference: they are applied when the user is released.
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from infra.backends.backend import Backend
from infra.security.roles import Role
from shardctl.audit.recording import recorded_act
from shardctl.cell_admin import CellAdmin, open_cell_admin
from shardctl.errors import Refused
from shardctl.events.published import EventComparison, Head, Known
from shardctl.events.reading import compare_published, read_heads
from shardctl.exchange_admin import ExchangeAdmin, open_exchange_admin
from shardctl.operator_tokens import Purpose
from shardctl.reconciliation.venue import accounts_of, compare_with_venue
from shardctl.stack.broker import kafka_of

_PATH: Final = "/operator/v1/incarnation"
_PAGE: Final = 500
"""Users of one request, the most that the cell takes."""
_NAMED_MAX: Final = 20
"""Users who are named in a refusal."""


@dataclass(frozen=True, slots=True)
class HeldUser:
    """Who reads and does not write, and what others know of them that the books do not."""

    user_id: str
    orders_written: int
    orders_known: int
    ledger_written: int
    ledger_known: int
    venue_differences: int
    """Orders about which venue and cell do not agree, but for those whose own reports wait here."""
    reports_waiting: int
    """Of the venue, in the inbox: nothing is applied for who is read-only."""
    write_seq_known: int = 0

    @property
    def lost_events(self) -> int:
        return max(0, self.orders_known - self.orders_written) + max(0, self.ledger_known - self.ledger_written)


async def list_held_users(backend: Backend, cell: str) -> list[HeldUser]:
    """By id. Raises NotReachable, Refused, TopicsMissing, BrokerUnreachable, EventsExpired."""
    async with open_cell_admin(backend) as admin, open_exchange_admin(backend) as exchange:
        held = await _held(admin, cell)
        if not held:
            return []
        heads: dict[bytes, Head] = {}

        async def read() -> Mapping[bytes, Head]:
            found = await read_heads(admin, cell)
            heads.update(found)
            return found

        events = await compare_published(kafka_of(backend), cell, read)
        venue = await _venue_differences(
            cell, admin, exchange, {order for each in held.values() for order in each.orders}
        )
    return [
        _held_user(user, waiting.reports, heads[UUID(user).bytes], events, venue.get(user, 0))
        for user, waiting in held.items()
    ]


def _held_user(user: str, waiting: int, head: Head, events: EventComparison, differences: int) -> HeldUser:
    known = events.known.get(user, Known(head.orders_written, head.ledger_written, 0))
    return HeldUser(
        user,
        head.orders_written,
        max(known.orders, head.orders_written),
        head.ledger_written,
        max(known.ledger, head.ledger_written),
        differences,
        waiting,
        known.write_seq,
    )


async def release_users(backend: Backend, cell: str, users: Collection[str], *, reason: str) -> list[HeldUser]:
    """These, or all who are held if none is named; nobody if one of them may not be. Returns who was released. Raises
    Refused, and what `list_held_users` raises. The cell keeps who released each, and why."""
    arguments = {"users": list(users)[:_NAMED_MAX] or "all"}
    purpose = Purpose("release_users", cell, Role.ADMIN, reason)
    async with recorded_act(backend, "cells.release_users", cell, reason=reason, arguments=arguments):
        return await _release(backend, cell, users, purpose)


async def _release(backend: Backend, cell: str, users: Collection[str], purpose: Purpose) -> list[HeldUser]:
    held = {user.user_id: user for user in await list_held_users(backend, cell)}
    chosen = list(users) or list(held)
    refuse_unready(cell, chosen, held)
    async with open_cell_admin(backend, purpose) as admin:
        outcomes: dict[str, str] = {}
        for start in range(0, len(chosen), _PAGE):
            page = [held[user] for user in chosen[start : start + _PAGE]]
            body = {"users": [_known(user) for user in page]}
            outcomes |= (await admin.call(cell, "POST", f"{_PATH}/release", body))["outcomes"]
    others = {user: outcome for user, outcome in outcomes.items() if outcome != "released"}
    if others:
        named = ", ".join(f"{user} ({outcome})" for user, outcome in list(others.items())[:_NAMED_MAX])
        raise Refused(f"{cell}: {len(outcomes) - len(others)} users released, not {named}: run it again")
    return [held[user] for user in chosen]


def refuse_unready(cell: str, chosen: Collection[str], held: Mapping[str, HeldUser]) -> None:
    """Pure. Raises Refused, which names them."""
    strangers = [user for user in chosen if user not in held]
    if strangers:
        named = ", ".join(strangers[:_NAMED_MAX])
        raise Refused(f"not read-only in {cell}: {named}: `shardctl cells restored-users {cell}`")
    differing = [user for user in chosen if held[user].venue_differences]
    if differing:
        raise Refused(
            f"{cell} and the venue do not agree about orders of {', '.join(differing[:_NAMED_MAX])}: nobody was "
            f"released; look at `shardctl cells reconcile {cell}`, or name the others"
        )


def _known(user: HeldUser) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "orders": user.orders_known,
        "ledger": user.ledger_known,
        "write_seq": user.write_seq_known,
    }


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What the venue has reported and nobody applies: how many reports, and of which orders."""

    reports: int
    orders: tuple[str, ...]


async def _held(admin: CellAdmin, cell: str) -> dict[str, _Waiting]:
    """Users, and what waits for each."""
    return {
        row["user_id"]: _Waiting(row["reports_waiting"], tuple(row["orders_waited_for"]))
        async for row in admin.rows(cell, f"{_PATH}/halted")
    }


async def _venue_differences(
    cell: str, admin: CellAdmin, exchange: ExchangeAdmin, explained: Set[str]
) -> dict[str, int]:
    """By user, but for orders whose own reports wait. An order that the cell does not know is its account's, as the
    venue says."""
    compared = await compare_with_venue(cell, admin, exchange)
    if compared.differences > len(compared.sample):
        raise Refused(f"{cell}: {compared.differences} orders differ from the venue's, more than can be told apart")
    found: dict[str, int] = {}
    nameless = []
    for row in compared.sample:
        if row["order_id"] in explained:
            continue
        if row.get("user_id"):
            found[row["user_id"]] = found.get(row["user_id"], 0) + 1
        else:
            nameless.append(row["order_id"])
    for account in await accounts_of(exchange, nameless):
        found[account] = found.get(account, 0) + 1
    return found
