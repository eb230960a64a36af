"""The customers of a replay: they sign up, are funded, and do what the tape says, each in the tape's order.

A step that is refused or stays unanswered is a difference; nothing is retried under another key.
"""

import asyncio
import secrets
from collections.abc import Sequence

from loadtests.client import Customer, CustomerError, RouterClient
from loadtests.figures import from_wire, to_wire
from loadtests.operator_view import OperatorView
from loadtests.replay.reconcile import Funding
from loadtests.replay.state import AT_ONCE, Player, Progress, ReplayRefused, ReplayReport, ReplayRequest
from loadtests.replay.tape_plan import MICROS_PER_SHARE, Action, CustomerPlan, Step, TapeOrder, TapePlan

SPARE_CASH_MICROS = 10_000 * 1_000_000  # on top of what all buys of a customer could cost at once
DEPOSIT_MICROS_MAX = 9_000_000 * 1_000_000  # a larger need is paid in several deposits
FEW_CUSTOMERS = 32  # so many sign up one after another within seconds
PRICE_S_MAX = 20.0  # prices reach a cell twice a second; the rest is for a cell that is being restarted
IN_MARKET_S_MAX = 30.0  # an order is at the venue within a second, or its cell is away
NOT_YET_IN_MARKET = frozenset({"pending", "validated", "funds_held", "queued", "pending_replace"})
REPLACE_TRIES = 20  # each is refused (412) by one fill that came in between; an order has fewer


async def sign_up(
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
    """Enough for all their buys and all their sells to be open at once."""
    cents = 10_000
    cash_micros = -(-(plan.buy_cost_micros + SPARE_CASH_MICROS) // cents) * cents
    return Funding(cash_micros=cash_micros, qty_micros=plan.sell_size * MICROS_PER_SHARE)


async def wait_for_price(players: Sequence[Player], symbol: str, plan: TapePlan) -> None:
    """Each cell must know the tape's price, or it would refuse the orders as out of band. Raises ReplayRefused."""
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


async def fund(players: Sequence[Player], symbol: str, plan: TapePlan, view: OperatorView, progress: Progress) -> None:
    done = 0

    async def one(player: Player) -> None:
        nonlocal done
        left_micros = player.funding.cash_micros
        while left_micros > 0:
            amount_micros = min(left_micros, DEPOSIT_MICROS_MAX)
            await player.customer.deposit(amount_micros)
            left_micros -= amount_micros
        if player.funding.qty_micros > 0:
            waiting = await player.customer.bring_shares(symbol, player.funding.qty_micros, plan.first_price_micros)
            await view.approve_transfers(player.customer.user_id, waiting)
        done += 1
        progress("funding", done, len(players))

    await asyncio.gather(*(one(player) for player in players))


async def play(players: Sequence[Player], report: ReplayReport, progress: Progress) -> None:
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
