"""A recorded tape played as customers would play it, and reconciled to the last micro-dollar.

Each invocation signs up customers of its own (client_order_ids are unique per customer) and a run name is played
once: the exchange knows the orders of a run by `<run>-<tape id>`, so a second play under the same name would be
answered with the first. A customer's own commands keep the tape's order and each waits for the answer of the one
before. A cancel goes out once its order stands in the market: before that the platform may end the order by itself,
and fills that precede the cancel on the tape would never happen. Refusals and lost answers are collected as
differences; nothing is retried under another key.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.client import Customer, CustomerError, RouterClient
from loadtests.figures import from_wire, to_wire
from loadtests.operator_view import OperatorView
from loadtests.reconcile import (
    CellSums,
    Funding,
    SeenCustomer,
    SeenOrder,
    compare_cell,
    compare_customer,
    compare_order,
    expected_cell,
    expected_customer,
    others_traded,
)
from loadtests.tape_file import read_tape
from loadtests.tape_plan import MICROS_PER_SHARE, Action, CustomerPlan, Step, TapeOrder, TapePlan, plan_tape

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
SPARE_CASH_MICROS = 10_000 * 1_000_000  # on top of what all buys of a customer could cost at once
DEPOSIT_MICROS_MAX = 9_000_000 * 1_000_000  # a larger need is paid in several deposits
AT_ONCE = 48
FEW_CUSTOMERS = 32
SETTLE_S_MAX = 60.0
PRICE_S_MAX = 20.0
IN_MARKET_S_MAX = 30.0
NOT_YET_IN_MARKET = frozenset({"pending", "validated", "funds_held", "queued", "pending_replace"})
REPLACE_TRIES = 20

Progress = Callable[[str, int, int], None]


class ReplayRefused(Exception):
    """The replay cannot begin; says why."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    messages: Path
    symbol: str
    run: str
    customers: int
    speed: float | None  # times the tape's own; None: as fast as the answers come


@dataclass(slots=True)
class Player:
    customer: Customer
    plan: CustomerPlan
    funding: Funding
    order_ids: dict[int, str] = field(default_factory=dict)  # tape id -> order id, the last one of its replacements
    open_tape_ids: set[int] = field(default_factory=set)


@dataclass(slots=True)
class ReplayReport:
    request: ReplayRequest
    router_url: str
    plan: TapePlan
    tape_loaded_now: bool = False
    placed: int = 0
    cancels: int = 0
    replaces: int = 0
    playing_s: float = 0.0
    settling_s: float = 0.0
    place_ms: list[float] = field(default_factory=list)
    cells: dict[str, CellSums] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    fills: int = 0
    filled: int = 0
    cost_micros: int = 0
    notes: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def read_plan(request: ReplayRequest) -> TapePlan:
    if RUN_NAME.fullmatch(request.run) is None:
        raise ReplayRefused(f"--run {request.run!r}: letters, digits, '-', '_' and '.' only, at most 40")
    if request.speed is not None and request.speed <= 0:
        raise ReplayRefused(f"--speed {request.speed}: must be above zero; leave it out to play as fast as possible")
    rows = read_tape(request.messages)
    return plan_tape(rows, file=str(request.messages), customers=request.customers)


async def run_replay(
    request: ReplayRequest, plan: TapePlan, router_url: str, view: OperatorView, progress: Progress
) -> ReplayReport:
    report = ReplayReport(request, router_url, plan)
    report.tape_loaded_now = await _ensure_tape(request, view)
    cells = await view.cells()
    before = await _cell_sums(view, cells, request.symbol)
    async with RouterClient(router_url, connections=AT_ONCE) as router:
        await router.must_answer()
        players = await _sign_up(router, request, plan, view, progress)
        await _wait_for_price(players, request.symbol, plan)
        await _fund(players, request.symbol, plan, progress)
        await _play(players, report, progress)
        await _settle(players, report, progress)
        await _reconcile_customers(players, report, progress)
    await _reconcile_cells(players, report, view, before)
    return report


async def _ensure_tape(request: ReplayRequest, view: OperatorView) -> bool:
    """The exchange must hold this very tape under this run, unplayed; it refuses other content under the same run."""
    tape = await view.json(
        "exchange", "load-tape", str(request.messages), "--symbol", request.symbol, "--run", request.run,
        "--waits-for-replace",
    )  # fmt: skip
    if int(tape["orders_taken"]) > 0:
        raise ReplayRefused(
            f"run {request.run!r} was already played ({tape['orders_taken']} of its orders reached the exchange): "
            "choose another --run"
        )
    return bool(tape["new"])


async def _cell_sums(view: OperatorView, cells: Iterable[str], symbol: str) -> dict[str, CellSums]:
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


async def _sign_up(
    router: RouterClient, request: ReplayRequest, plan: TapePlan, view: OperatorView, progress: Progress
) -> list[Player]:
    tag = secrets.token_hex(4)
    # One after another where they are few: sign-ups at one instant may all see the same emptiest cell.
    slots = asyncio.Semaphore(1 if len(plan.customers) <= FEW_CUSTOMERS else 8)
    done = 0

    async def one(customer_plan: CustomerPlan) -> Player:
        nonlocal done
        async with slots:
            email = f"replay-{request.run.lower()}-{tag}-{customer_plan.number:04d}@customers.example"
            customer = await router.sign_up(email, secrets.token_urlsafe(12), name=f"Replay {request.run}")
        done += 1
        progress("signing up", done, len(plan.customers))
        return Player(customer, customer_plan, needed_funding(customer_plan))

    players = list(await asyncio.gather(*(one(customer_plan) for customer_plan in plan.customers)))
    await view.make_professional([player.customer.user_id for player in players])
    return players


def needed_funding(plan: CustomerPlan) -> Funding:
    """Enough for every buy and every sell of his to be open at once."""
    cents = 10_000
    cash_micros = -(-(plan.buy_cost_micros + SPARE_CASH_MICROS) // cents) * cents
    return Funding(cash_micros=cash_micros, qty_micros=plan.sell_size * MICROS_PER_SHARE)


async def _wait_for_price(players: Sequence[Player], symbol: str, plan: TapePlan) -> None:
    """Each cell must know the tape's price, or it would refuse the orders as out of band."""
    first_px = plan.first_price_micros
    one_per_cell = {player.customer.cell: player.customer for player in players}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PRICE_S_MAX
    for cell, customer in one_per_cell.items():
        while True:
            answer = await customer.call({200, 404}, "GET", f"/v1/symbols/{symbol}")
            known = answer.status == 200 and answer.body["reference_price"] is not None
            if known and abs(from_wire(answer.body["reference_price"]) - first_px) * 10 < first_px:
                break
            if loop.time() > deadline:
                price = answer.body["reference_price"] if known else "no price"
                raise ReplayRefused(
                    f"{cell} knows {price} for {symbol}, more than 10 % from the tape's first price {to_wire(first_px)}"
                )
            await asyncio.sleep(0.2)


async def _fund(players: Sequence[Player], symbol: str, plan: TapePlan, progress: Progress) -> None:
    done = 0

    async def one(player: Player) -> None:
        nonlocal done
        left_micros = player.funding.cash_micros
        while left_micros > 0:
            amount_micros = min(left_micros, DEPOSIT_MICROS_MAX)
            await player.customer.deposit(amount_micros)
            left_micros -= amount_micros
        if player.funding.qty_micros > 0:
            await player.customer.transfer_shares(symbol, player.funding.qty_micros, plan.first_price_micros)
        done += 1
        progress("funding", done, len(players))

    await asyncio.gather(*(one(player) for player in players))


async def _play(players: Sequence[Player], report: ReplayReport, progress: Progress) -> None:
    loop = asyncio.get_running_loop()
    total = sum(len(player.plan.steps) for player in players)
    slots = asyncio.Semaphore(AT_ONCE)
    done = 0
    began = loop.time()

    async def one(player: Player) -> None:
        nonlocal done
        for step in player.plan.steps:
            if report.request.speed is not None:
                due_s = (step.at_ns - report.plan.began_ns) / 1e9 / report.request.speed
                await asyncio.sleep(max(0.0, began + due_s - loop.time()))
            async with slots:
                try:
                    await _take_step(player, step, report)
                except CustomerError as error:
                    report.differences.append(f"line {step.line}, {step.action.value}: {error}")
            done += 1
            progress("playing", done, total)

    await asyncio.gather(*(one(player) for player in players))
    report.playing_s = loop.time() - began


async def _take_step(player: Player, step: Step, report: ReplayReport) -> None:
    order = step.order
    if step.action is Action.PLACE:
        name = f"{report.request.run}-{order.tape_id}"
        answer = await player.customer.place(wire_order(order, report.request.symbol, name), key=f"place-{name}")
        player.order_ids[order.tape_id] = str(answer.body["order_id"])
        player.open_tape_ids.add(order.tape_id)
        report.placed += 1
        if answer.attempts == 1:
            report.place_ms.append(answer.elapsed_s * 1000)
        return
    order_id = player.order_ids.get(order.tape_id)
    if order_id is None:
        return  # its placing failed, which is a difference already
    await _until_in_market(player.customer, order_id)
    if step.action is Action.REPLACE:
        await _replace(player, step, order_id, report)
        return
    answer = await player.customer.cancel(order_id, key=f"cancel-{report.request.run}-{order.tape_id}")
    report.cancels += 1
    if answer.status == 409:
        report.differences.append(
            f"line {step.line}, cancel of tape order {order.tape_id}: the platform says it had already ended"
        )


async def _replace(player: Player, step: Step, order_id: str, report: ReplayReport) -> None:
    """By an order that is smaller by what the tape takes off. A fill may come between reading and changing it."""
    tape_id = step.order.tape_id
    for number in range(REPLACE_TRIES):
        seen = await player.customer.order(order_id)
        qty_micros = from_wire(seen["qty"]) - step.size * MICROS_PER_SHARE
        answer = await player.customer.replace(
            order_id,
            {"qty": to_wire(qty_micros)},
            etag=str(seen["etag"]),
            key=f"replace-{report.request.run}-{tape_id}-{step.line}-{number}",
        )
        if answer.status != 412:
            break
    if answer.status == 202:
        report.replaces += 1
        player.order_ids[tape_id] = str(answer.body["order_id"])
    else:
        report.differences.append(
            f"line {step.line}, partial cancel of tape order {tape_id}: the platform says {answer.status} {answer.code}"
        )


async def _until_in_market(customer: Customer, order_id: str) -> None:
    """Bounded: an order that never gets there is cancelled all the same; the reconciliation shows what came of it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + IN_MARKET_S_MAX
    pause_s = 0.01
    while loop.time() < deadline and (await customer.order(order_id))["status"] in NOT_YET_IN_MARKET:
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.2)


def wire_order(order: TapeOrder, symbol: str, client_order_id: str) -> dict[str, object]:
    return {
        "symbol": symbol,
        "side": order.side,
        "type": "limit",
        "qty": str(order.size),
        "limit_price": to_wire(order.price_micros),
        "time_in_force": "day",
        "client_order_id": client_order_id,
    }


async def _settle(players: Sequence[Player], report: ReplayReport, progress: Progress) -> None:
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


async def _reconcile_customers(players: Sequence[Player], report: ReplayReport, progress: Progress) -> None:
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
                report.differences.append(f"customer {player.plan.number}: has an order {name!r} that he never placed")
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
                fills += [(from_wire(told["last_qty"]), from_wire(told["last_px"])) for told in executions]
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


async def _reconcile_cells(
    players: Sequence[Player], report: ReplayReport, view: OperatorView, before: dict[str, CellSums]
) -> None:
    after = await _cell_sums(view, before, report.request.symbol)
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
    """The operator's view of the same person: the cell of the map, his profile, his money."""
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
