"""Open a restored cell: reconcile it, find who is known better elsewhere, and take the fence down for the others.

Whoever wrote anything after the restored moment that anybody outside can know of is in Kafka with a later sequence, or
at the venue with another order. Those users stay halted: they read, and nothing is written for them. So no sequence is
given out twice under one event id, and no client's retry finds its key forgotten and doubles an order. Of a write that
neither Kafka nor the venue has heard of, nothing is left anywhere, and its retry is the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.backends.backend import Backend
from infra.security.roles import Role
from shardctl.audit.recording import recorded_act
from shardctl.cell_admin import CellAdmin, open_cell_admin
from shardctl.errors import NotReachable, Refused
from shardctl.events.reading import compare_published, read_heads
from shardctl.exchange_admin import open_exchange_admin
from shardctl.operator_tokens import Purpose
from shardctl.reconciliation.run import reconcile
from shardctl.reconciliation.venue import VenueComparison, accounts_of, compare_with_venue
from shardctl.stack.broker import kafka_of
from shardctl.stack.current import stack_clock

_PATH: Final = "/operator/v1/incarnation"


@dataclass(frozen=True, slots=True)
class Opened:
    cell: str
    run_id: str
    verdict: str
    found: tuple[str, ...]
    halted: tuple[str, ...]
    """Users who stay read-only."""


async def incarnation_of(backend: Backend, cell: str) -> dict[str, Any]:
    """`fenced`, and what the newest restore was. Raises NotReachable, Refused, NotAllowed."""
    async with open_cell_admin(backend) as admin:
        return await admin.call(cell, "GET", _PATH)


async def open_restored_cell(backend: Backend, cell: str, *, reason: str, despite_findings: bool) -> Opened:
    """Raises Refused: not fenced, or findings and not told to go on despite them; NotReachable: not all were asked;
    UsageError for a reason that the cell could not keep."""
    arguments = {"despite_findings": despite_findings}
    look_again = Purpose("reconcile", cell, Role.OPERATOR, reason)
    opening = Purpose("open_cell", cell, Role.ADMIN, reason)
    async with recorded_act(backend, "cells.unfence", cell, reason=reason, arguments=arguments):
        return await _open(backend, cell, look_again, opening, despite_findings=despite_findings)


async def _open(
    backend: Backend, cell: str, look_again: Purpose, opening: Purpose, *, despite_findings: bool
) -> Opened:
    state = await incarnation_of(backend, cell)
    if not state["fenced"]:
        raise Refused(f"{cell} is not fenced")
    async with open_cell_admin(backend, look_again) as admin:
        run = await reconcile(backend, cell, admin, stack_clock(backend).now())
    if run["verdict"] == "incomplete":
        raise NotReachable(f"{cell} stays fenced: not everybody could be asked: `shardctl status`")
    if run["verdict"] != "equal" and not despite_findings:
        raise Refused(
            f"{cell} stays fenced; found: {', '.join(run['found'])}: look at `shardctl cells reconciliations {cell} "
            "-n 1 --json`, then `--despite-findings` opens it; users who are known better elsewhere stay read-only"
        )
    async with open_cell_admin(backend, opening) as admin:
        halted, received = await _known_better(backend, cell, admin)
        body = {
            "received_seq": received,
            "halted": sorted(halted),
            "despite_findings": despite_findings,
        }
        await admin.call(cell, "POST", f"{_PATH}/open", body)
    return Opened(cell, run["run_id"], run["verdict"], tuple(run["found"]), tuple(sorted(halted)))


async def _known_better(backend: Backend, cell: str, admin: CellAdmin) -> tuple[set[str], int]:
    """Users of whom Kafka or the venue knows more, and the last report that the venue has deleted."""
    events = await compare_published(kafka_of(backend), cell, lambda: read_heads(admin, cell))
    async with open_exchange_admin(backend, admin.token) as exchange:
        orders = await compare_with_venue(cell, admin, exchange)
        owners = await accounts_of(exchange, [row["order_id"] for row in orders.sample if not row.get("user_id")])
        summary = await exchange.summary()
    return {*events.ahead, *users_of(cell, orders), *owners}, acknowledged(summary, cell)


def users_of(cell: str, orders: VenueComparison) -> set[str]:
    """Whose orders differ; an order that the cell does not know names nobody, and is its account's. Pure.

    Raises Refused if not all of them are listed."""
    if orders.differences > len(orders.sample):
        raise Refused(
            f"{cell} stays fenced: {orders.differences} orders differ from the venue's, "
            f"more than can be told one by one ({len(orders.sample)})"
        )
    return {str(row["user_id"]) for row in orders.sample if row.get("user_id")}


def acknowledged(summary: Mapping[str, Any], cell: str) -> int:
    """Of the cell's session at the venue. Pure."""
    session = summary["sessions"].get(cell)
    return int(session["acked_seq"]) if session else 0
