"""What a replay finds in the books afterwards, beside what the tape says must be there.

Reads only: every order with its fills, every customer's cash and shares, by what each cell grew, the ledger checks, the
operator's view of each customer. Whatever differs is a line of the report.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from loadtests.client import Customer
from loadtests.figures import from_wire
from loadtests.operator_view import OperatorView
from loadtests.replay.reconcile import (
    CellSums,
    SeenCustomer,
    SeenOrder,
    compare_cell,
    compare_customer,
    compare_order,
    expected_cell,
    expected_customer,
    others_traded,
)
from loadtests.replay.state import AT_ONCE, Player, Progress, ReplayReport
from loadtests.replay.tape_plan import MICROS_PER_SHARE

SETTLE_S_MAX = 60.0  # until no queue holds anything; fills of the last orders come within a second


async def cell_sums(view: OperatorView, cells: Iterable[str], symbol: str) -> dict[str, CellSums]:
    names = list(cells)
    summaries = await asyncio.gather(*(view.summary(name) for name in names))
    return {name: sums_of(summary, symbol) for name, summary in zip(names, summaries, strict=True)}


def sums_of(summary: dict[str, Any], symbol: str) -> CellSums:
    """Cash here includes what is held; the platform keeps the two apart."""
    return CellSums(
        users=int(summary["users"]),
        orders=sum(int(count) for count in summary["orders_by_status"].values()),
        executions=int(summary["executions"]),
        cash_micros=int(summary["cash_micros"]) + int(summary["cash_held_micros"]),
        cash_held_micros=int(summary["cash_held_micros"]),
        qty_micros=int(summary["shares"].get(symbol, 0)),
        qty_held_micros=int(summary["shares_held"].get(symbol, 0)),
    )


async def settle(players: Sequence[Player], report: ReplayReport, progress: Progress) -> None:
    """Until every order is where the tape leaves it; bounded, for the reconciliation says what is missing."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = [player for player in players if player.order_ids]
    total = len(waiting)
    while waiting and loop.time() - began < SETTLE_S_MAX:
        settled = await asyncio.gather(*(_is_settled(player) for player in waiting))
        waiting = [player for player, ready in zip(waiting, settled, strict=True) if not ready]
        progress("settling", total - len(waiting), total)
        if waiting:
            await asyncio.sleep(0.25)
    report.settling_s = loop.time() - began


async def _is_settled(player: Player) -> bool:
    listed = {str(order["order_id"]): order for order in await player.customer.items("/v1/orders")}
    for order in player.plan.orders:
        seen = listed.get(player.order_ids.get(order.tape_id, ""))
        if seen is None:
            continue
        filled = sum(from_wire(listed[name]["cum_qty"]) for name in chain_of(seen, listed))
        if seen["status"] != order.expected_status or filled != order.filled * MICROS_PER_SHARE:
            return False
    return True


def chain_of(order: dict[str, Any], listed: dict[str, dict[str, Any]]) -> list[str]:
    """The ids of an order and of those that it replaced, oldest first."""
    chain = [str(order["order_id"])]
    while (before := listed[chain[0]]["replaces"]) is not None and str(before) in listed:
        chain.insert(0, str(before))
    return chain


async def reconcile_customers(players: Sequence[Player], report: ReplayReport, progress: Progress) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(player: Player) -> None:
        nonlocal done
        async with slots:
            seen = await _seen_orders(player)
            for order in player.plan.orders:
                mine = seen.pop(f"{report.request.run}-{order.tape_id}", None)
                report.differences.extend(compare_order(order, mine))
                if mine is not None:
                    report.fills += len(mine.fills)
                    report.filled += mine.cum_qty_micros
                    report.cost_micros += sum(qty * price for qty, price in mine.fills) // MICROS_PER_SHARE
            for name in seen:
                report.differences.append(
                    f"customer {player.plan.number}: has an order {name!r} that they never placed"
                )
            customer = await _seen_customer(player.customer, report.request.symbol)
            report.differences.extend(compare_customer(player.plan, player.funding, customer))
        done += 1
        progress("reconciling", done, len(players))

    await asyncio.gather(*(one(player) for player in players))


async def _seen_orders(player: Player) -> dict[str, SeenOrder]:
    """By client_order_id, executions included, in the order they happened; an order and its replacements are one."""
    found: dict[str, SeenOrder] = {}
    listed = {str(order["order_id"]): order for order in await player.customer.items("/v1/orders")}
    for order in listed.values():
        if str(order["replaced_by"]) in listed:
            continue
        chain = [listed[order_id] for order_id in chain_of(order, listed)]
        fills: list[tuple[int, int]] = []
        for link in chain:
            if from_wire(link["cum_qty"]) > 0:
                path = f"/v1/orders/{link['order_id']}/executions"
                executions = await player.customer.items(path, {"direction": "asc"})
                fills += [(from_wire(each["last_qty"]), from_wire(each["last_px"])) for each in executions]
        name = str(chain[0]["client_order_id"] or order["order_id"])
        if name in found:
            name = f"{name} (again: {order['order_id']})"
        found[name] = SeenOrder(
            order_id=str(order["order_id"]),
            side=str(order["side"]),
            status=str(order["status"]),
            qty_micros=from_wire(chain[0]["qty"]),
            limit_price_micros=from_wire(order["limit_price"]),
            cum_qty_micros=sum(from_wire(link["cum_qty"]) for link in chain),
            leaves_qty_micros=from_wire(order["leaves_qty"]),
            fills=tuple(fills),
            replacements=len(chain) - 1,
        )
    return found


async def _seen_customer(customer: Customer, symbol: str) -> SeenCustomer:
    account = await customer.account()
    positions = [position for position in await customer.positions() if position["symbol"] == symbol]
    return SeenCustomer(
        cash_micros=from_wire(account["cash"]) + from_wire(account["cash_held"]),
        cash_held_micros=from_wire(account["cash_held"]),
        qty_micros=sum(from_wire(position["qty"]) for position in positions),
        qty_held_micros=sum(from_wire(position["qty_held"]) for position in positions),
    )


async def reconcile_cells(
    players: Sequence[Player], report: ReplayReport, view: OperatorView, before: dict[str, CellSums]
) -> None:
    """Compare with the operators' side, and write what differs into the report: each customer's account, each cell's
    sums less those from before the replay, each cell's ledger checks.

    A cell in which others traded meanwhile is noted, and its totals prove nothing.
    """
    after = await cell_sums(view, before, report.request.symbol)
    accounts = await asyncio.gather(*(view.json("users", "show", str(each.customer.user_id)) for each in players))
    for player, shown in zip(players, accounts, strict=True):
        _compare_with_operator(player, shown, report)
    for cell, sums in before.items():
        mine = [player for player in players if player.customer.cell == cell]
        fundings = {player.plan.number: player.funding for player in mine}
        expected = expected_cell([player.plan for player in mine], fundings)
        if not mine:
            report.notes.append(f"{cell}: the router placed no customer of this replay there")
        report.cells[cell] = after[cell].minus(sums)
        if others_traded(expected, report.cells[cell]):
            report.notes.append(f"{cell}: others traded there meanwhile, so its totals say nothing of this replay")
        report.differences.extend(compare_cell(cell, expected, report.cells[cell]))
    checks = await asyncio.gather(*(view.checks(cell) for cell in before))
    for cell, answer in zip(before, checks, strict=True):
        report.checks[cell] = answer
        if not answer.get("healthy") or not answer.get("checks"):
            red = [str(check["name"]) for check in answer.get("checks", ()) if check.get("violations")]
            report.differences.append(f"cell {cell}: ledger checks: {', '.join(red) or answer}")


def _compare_with_operator(player: Player, shown: dict[str, Any], report: ReplayReport) -> None:
    """The operator's view of the same person: the cell of the map, their profile, their money."""
    account, cell = shown["account"], shown["located"]["cell"]
    expected = expected_customer(player.plan, player.funding)
    for what, wanted, found in (
        ("cell", player.customer.cell, cell),
        ("profile", "professional", account["profile"]),
        ("restricted", False, account["restricted"]),
        ("cash, micro-dollars", expected.cash_micros, account["cash_micros"] + account["cash_held_micros"]),
        ("held cash, micro-dollars", expected.cash_held_micros, account["cash_held_micros"]),
    ):
        if wanted != found:
            report.differences.append(
                f"customer {player.plan.number}: {what}: expected {wanted}, shardctl users show says {found}"
            )
