"""The demo: customers sign up over all cells, fund themselves, trade for a while, and the books are proven afterwards.

Everything goes through the router, as a customer would; the proof comes from the operators' command. What may go
wrong is collected, not raised, so that one run shows all of it; the run is right only if `faults` is empty.
Safe to run on a used stack: emails are new in every run, and figures of others only ever add to the cells' totals.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.client import Answer, Customer, CustomerError, RouterClient, new_key
from loadtests.demo.move import MoveReport, move_a_customer
from loadtests.demo.order_mix import Command, CommandKind, CustomerScript, write_scripts
from loadtests.figures import from_wire
from loadtests.operator_view import OperatorRefused, OperatorView
from loadtests.quiet import orders_in, wait_until_quiet, waiting_text

SYMBOLS = ("AAPL", "AMZN", "BAC", "GME", "KO", "MSFT", "NVDA", "SOFI", "SPY", "TSLA")
PASSWORD_BYTES = 12
"""96 bits: a made customer is as well protected as a person."""
# A password hash costs a cell tens of milliseconds of a whole core; more sign-ups at once only queue.
SIGN_UPS_AT_ONCE = 8
# Keeps one customer under the ten orders per second that a retail profile allows, however fast the platform is.
PAUSE_BETWEEN_COMMANDS_S = 0.15
# And this keeps one with more orders than that under the sixty per minute.
ORDERS_AT_PAUSE_MAX = 50
LONG_PAUSE_S = 1.1
"""Instead of it, where more would meet retail's limit of orders a minute."""
# Relay and worker catch up within a few seconds; a cell whose database was killed meanwhile needs the rest.
QUIET_S_MAX = 45.0
QUIET_POLL_S = 0.5
"""Between two looks."""
# A start of the market takes seconds: prices are asked for this often, half a second apart.
PRICE_TRIES = 40
PRICE_POLL_S = 0.5
"""The exchange sends prices twice a second."""
FAULTS_SHOWN = 20
"""Lines; the rest is counted."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DemoSize:
    customers: int = 200
    orders: int = 3_000
    seed: int = 1
    at_once: int = 48
    """Customers who act at one time: within what one address may ask."""


@dataclass(slots=True)
class CellReport:
    """What one cell did during the run, from both sides."""

    cell: str
    customers: int = 0
    accepted: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class DemoReport:
    router_url: str
    size: DemoSize
    cells: dict[str, CellReport] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    faults_more: int = 0
    trading_s: float = 0.0
    retried: Mapping[str, int] = field(default_factory=dict)
    move: MoveReport | None = None
    """None: there is one cell only, or something was wrong before."""

    def fault(self, words: str) -> None:
        if len(self.faults) < FAULTS_SHOWN:
            self.faults.append(words)
        else:
            self.faults_more += 1


@dataclass(slots=True)
class Trader:
    """A customer with their script and what they know of their own orders."""

    customer: Customer
    script: CustomerScript
    order_ids: dict[int, str] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    bodies: dict[int, Mapping[str, object]] = field(default_factory=dict)


async def run_demo(router_url: str, view: OperatorView, size: DemoSize, progress: Progress) -> DemoReport:
    """Sign up, fund, trade, wait for quiet queues, prove. Raises RouterSilent, OperatorRefused; the rest are faults."""
    report = DemoReport(router_url, size)
    for name in await view.cells():
        report.cells[name] = CellReport(name)
    if not report.cells:
        report.fault("the stack has no cell")
        return report
    await _each_cell(report, view.summary, "before")
    async with RouterClient(router_url, connections=size.at_once) as router:
        await router.must_answer()
        customers = await _sign_up(router, report, size, progress)
        if not customers:
            return report
        prices = await _prices(customers[0])
        scripts = write_scripts(size.seed, customers=size.customers, orders=size.orders, prices_micros=prices)
        traders = [Trader(customer, scripts[number]) for number, customer in enumerate(customers)]
        await _fund(traders, report, view, size, progress)
        await _trade(traders, report, size, progress)
        await _wait_until_quiet(report, view, progress)
        await _compare_order_lists(traders, report, size)
        report.retried = router.tally.retried
        await _prove(report, view)
        if not report.faults and len(report.cells) > 1:
            progress("moving a customer", 0, 1)
            report.move = await move_a_customer(traders, list(report.cells), view)
            for fault in report.move.faults:
                report.fault(fault)
    return report


async def _each_cell(report: DemoReport, ask: Callable[[str], Any], into: str) -> None:
    answers = await asyncio.gather(*(ask(name) for name in report.cells))
    for name, answer in zip(report.cells, answers, strict=True):
        setattr(report.cells[name], into, answer)


async def _sign_up(router: RouterClient, report: DemoReport, size: DemoSize, progress: Progress) -> list[Customer]:
    """All customers, or those that could; a run is named by a random tag, so emails are new."""
    tag = secrets.token_hex(4)
    slots = asyncio.Semaphore(SIGN_UPS_AT_ONCE)
    customers: list[Customer] = []

    async def one(number: int) -> None:
        async with slots:
            email = f"demo-{tag}-{number:04d}@customers.example"
            try:
                customer = await router.sign_up(email, secrets.token_urlsafe(PASSWORD_BYTES), name=f"Demo {number}")
            except CustomerError as error:
                report.fault(f"sign-up of customer {number}: {error}")
                return
        customers.append(customer)
        _count_customer(report, customer)
        progress("signing up", len(customers), size.customers)

    await asyncio.gather(*(one(number) for number in range(size.customers)))
    _judge_placement(report)
    return customers


def _judge_placement(report: DemoReport) -> None:
    """The router fills the emptiest cell first: only one that was fuller than the others may have got nobody."""
    users = {name: int(cell.before["users"]) + cell.customers for name, cell in report.cells.items()}
    for name, cell in report.cells.items():
        if cell.customers == 0 and users[name] < max(users.values()):
            report.fault(f"no new customer was placed in {name}, though it has fewer users than others: {users}")


def _count_customer(report: DemoReport, customer: Customer) -> None:
    cell = report.cells.get(customer.cell or "")
    if cell is None:
        report.fault(f"a sign-up was answered by {customer.cell!r}, which shardctl does not list")
    else:
        cell.customers += 1


async def _prices(customer: Customer) -> dict[str, int]:
    """Reference prices of the demo's symbols, as a customer sees them; waits for the market to speak after a start."""
    prices: dict[str, int] = {}
    for _ in range(PRICE_TRIES):
        for symbol in SYMBOLS:
            answer = await customer.call({200, 404, 422}, "GET", f"/v1/symbols/{symbol}")
            if answer.status == 200 and answer.body["tradable"] and answer.body["reference_price"] is not None:
                prices[symbol] = from_wire(answer.body["reference_price"])
        if prices:
            return prices
        await asyncio.sleep(PRICE_POLL_S)
    return prices


async def _fund(
    traders: Sequence[Trader], report: DemoReport, view: OperatorView, size: DemoSize, progress: Progress
) -> None:
    slots = asyncio.Semaphore(size.at_once)
    done = 0

    async def one(trader: Trader) -> None:
        nonlocal done
        async with slots:
            try:
                await trader.customer.deposit(trader.script.cash_micros)
                waiting: list[str] = []
                for holding in trader.script.holdings:
                    waiting += await trader.customer.bring_shares(
                        holding.symbol, holding.qty_micros, holding.unit_cost_micros
                    )
                    report.counted["share transfers"] += 1
                await view.approve_transfers(trader.customer.user_id, waiting)
            except (CustomerError, OperatorRefused) as error:
                report.fault(f"funding of customer {trader.script.number}: {error}")
            done += 1
            report.counted["deposits"] += 1
            progress("funding", done, len(traders))

    await asyncio.gather(*(one(trader) for trader in traders))


async def _trade(traders: Sequence[Trader], report: DemoReport, size: DemoSize, progress: Progress) -> None:
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(size.at_once)
    total = sum(len(trader.script.commands) for trader in traders)
    done = 0

    async def one(trader: Trader) -> None:
        nonlocal done
        has_many = len(trader.script.commands) > ORDERS_AT_PAUSE_MAX
        for command in trader.script.commands:
            next_at = loop.time() + (LONG_PAUSE_S if has_many else PAUSE_BETWEEN_COMMANDS_S)
            async with slots:
                try:
                    await _run_command(trader, command, report)
                except CustomerError as error:
                    report.fault(f"customer {trader.script.number}, {command.kind.value}: {error}")
            done += 1
            progress("trading", done, total)
            await asyncio.sleep(max(0.0, next_at - loop.time()))

    started = loop.time()
    await asyncio.gather(*(one(trader) for trader in traders))
    report.trading_s = loop.time() - started


async def _run_command(trader: Trader, command: Command, report: DemoReport) -> None:
    match command.kind:
        case CommandKind.PLACE:
            trader.keys[command.order] = new_key()
            trader.bodies[command.order] = command.body
            answer = await trader.customer.place(command.body, key=trader.keys[command.order])
            trader.order_ids[command.order] = str(answer.body["order_id"])
            report.counted["orders accepted"] += 1
            _count_order(report, answer)
        case CommandKind.PLACE_TOO_LARGE:
            answer = await trader.customer.place(command.body, statuses={422})
            report.counted["orders refused, as they must be"] += 1
            if answer.code != "INSUFFICIENT_BUYING_POWER":
                report.fault(f"an order beyond the customer's cash was refused with {answer.code}: {answer.body}")
        case CommandKind.REPEAT if command.order in trader.order_ids:
            answer = await trader.customer.place(trader.bodies[command.order], key=trader.keys[command.order])
            report.counted["orders sent again with the same key"] += 1
            if not answer.replayed or answer.body["order_id"] != trader.order_ids[command.order]:
                report.fault(f"the same key answered differently: {answer.body} instead of the first answer, replayed")
        case CommandKind.CANCEL if command.order in trader.order_ids:
            answer = await trader.customer.cancel(trader.order_ids[command.order])
            report.counted["cancels taken" if answer.status != 409 else "cancels too late"] += 1
        case _:
            report.counted["commands left out: their order was not accepted"] += 1


def _count_order(report: DemoReport, answer: Answer) -> None:
    cell = report.cells.get(answer.cell or "")
    if cell is None:
        report.fault(f"an order was answered by {answer.cell!r}, which shardctl does not list")
        return
    cell.accepted += 1
    if answer.attempts == 1:
        cell.latencies_ms.append(answer.elapsed_s * 1000)


async def _wait_until_quiet(report: DemoReport, view: OperatorView, progress: Progress) -> None:
    def show(waited_s: float) -> None:
        progress("waiting for quiet books", min(int(waited_s), int(QUIET_S_MAX)), int(QUIET_S_MAX))

    found = await wait_until_quiet(
        view, report.cells, within_s=QUIET_S_MAX, every_s=QUIET_POLL_S, looks=2, on_look=show
    )
    for name, summary in found.items():
        report.cells[name].after = summary
        if left := waiting_text(summary):
            report.fault(f"{name} is not quiet after {QUIET_S_MAX:.0f} s: {left}")


async def _compare_order_lists(traders: Sequence[Trader], report: DemoReport, size: DemoSize) -> None:
    """Each customer reads their own orders back: none lost, none doubled, none of somebody else."""
    slots = asyncio.Semaphore(size.at_once)

    async def one(trader: Trader) -> None:
        async with slots:
            try:
                listed = [str(order["order_id"]) for order in await trader.customer.items("/v1/orders")]
            except CustomerError as error:
                report.fault(f"reading the orders of customer {trader.script.number}: {error}")
                return
        if Counter(listed) != Counter(trader.order_ids.values()):
            accepted = len(trader.order_ids)
            report.fault(f"customer {trader.script.number} had {accepted} orders accepted and reads back {len(listed)}")

    await asyncio.gather(*(one(trader) for trader in traders))


async def _prove(report: DemoReport, view: OperatorView) -> None:
    await _each_cell(report, view.summary, "after")
    await _each_cell(report, view.checks, "checks")
    await _each_cell(report, lambda name: _events(view, name), "events")
    for cell in report.cells.values():
        _judge(cell, report)


async def _events(view: OperatorView, cell: str) -> dict[str, Any]:
    try:
        return await view.events(cell)
    except OperatorRefused as error:
        return {"cell": cell, "equal": False, "refused": str(error)}


def _judge(cell: CellReport, report: DemoReport) -> None:
    orders = orders_in(cell.after) - orders_in(cell.before)
    if orders < cell.accepted:
        report.fault(f"{cell.cell} accepted {cell.accepted} orders and holds only {orders} more than before")
    if cell.after["users"] - cell.before["users"] < cell.customers:
        report.fault(f"{cell.cell} took {cell.customers} sign-ups and has fewer new users")
    if cell.accepted and cell.after["executions"] <= cell.before["executions"]:
        report.fault(f"{cell.cell}: nothing was filled")
    if cell.after.get("quarantined", 0) > cell.before.get("quarantined", 0):
        report.fault(f"{cell.cell}: reports were quarantined")
    if not cell.checks.get("healthy"):
        red = [str(check["name"]) for check in cell.checks.get("checks", ()) if check.get("violations")]
        report.fault(f"{cell.cell}: ledger checks failed: {', '.join(red) or cell.checks}")
    if not cell.checks.get("checks"):
        report.fault(f"{cell.cell}: no ledger check ran")
    if not cell.events.get("equal"):
        report.fault(f"{cell.cell}: events in Kafka differ from events in the database: {cell.events}")
