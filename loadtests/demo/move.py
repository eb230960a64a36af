"""The demo's last act: one customer who trades moves to another cell, and their next order goes through there.

While they move they read, and repeat an order that they placed before, with its key: no request may fail, and none may
be answered otherwise than before. What may go wrong is a fault of the report, as everywhere in the demo.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from loadtests.client import Customer, CustomerError
from loadtests.operator_view import OperatorRefused, OperatorView

REST_S_MAX: Final = 30.0
"""Until a customer's cancelled orders have ended: the venue confirms each."""
REST_POLL_S: Final = 0.25
MOVE_S_MAX: Final = 120.0
"""Of the command: a move takes a second, the rest is for a busy machine."""
REASON: Final = "the demo shows a move"
_TINY: Final = {"side": "buy", "type": "market", "qty": "0.01", "time_in_force": "day"}
"""An order that everybody can pay."""


class Known(Protocol):
    """A customer, and what they know of an order of theirs."""

    @property
    def customer(self) -> Customer: ...

    @property
    def order_ids(self) -> dict[int, str]: ...

    @property
    def keys(self) -> dict[int, str]: ...

    @property
    def bodies(self) -> Any: ...


@dataclass(slots=True)
class MoveReport:
    user_id: str = ""
    was_in: str = ""
    is_in: str = ""
    pause_ms: float | None = None
    orders: int = 0
    requests_meanwhile: int = 0
    receipt: dict[str, Any] = field(default_factory=dict)
    checks_found: int | None = None
    """Rows that the checks of their new cell found about them; None: not run."""
    next_order: str = ""
    next_order_cell: str = ""
    faults: list[str] = field(default_factory=list)


async def move_a_customer(traders: Sequence[Known], cells: Sequence[str], view: OperatorView) -> MoveReport:
    """Whoever has traded most. The faults are in the report."""
    report = MoveReport()
    trader = max(traders, key=lambda each: len(each.order_ids))
    customer, was_in = trader.customer, trader.customer.cell or ""
    to = next((cell for cell in cells if cell != was_in), None)
    if not trader.order_ids or to is None:
        report.faults.append("nobody could be moved: no customer has traded, or there is one cell only")
        return report
    report.user_id, report.was_in, report.orders = str(customer.user_id), was_in, len(trader.order_ids)
    try:
        await _bring_to_rest(customer)
        async with _insisting(trader, report):
            moved = await view.json("users", "move", report.user_id, "--to", to, "--reason", REASON, limit_s=MOVE_S_MAX)
        await _look_closer(customer, moved["operation_id"], report, view)
        symbol = next(iter(trader.bodies.values()))["symbol"]
        answer = await customer.place({"symbol": symbol, **_TINY})
        report.next_order, report.next_order_cell = str(answer.body["order_id"]), str(answer.cell)
    except (CustomerError, OperatorRefused) as error:
        report.faults.append(f"the move of {report.user_id}: {error}")
        return report
    if (report.is_in, report.next_order_cell) != (to, to):
        report.faults.append(f"after the move to {to}: attested in {report.is_in}, served by {report.next_order_cell}")
    return report


async def _bring_to_rest(customer: Customer) -> None:
    """Orders at the venue stay where they are for now, so a customer who has some is not moved."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + REST_S_MAX
    asked: set[str] = set()
    while True:
        still_open = [str(order["order_id"]) for order in await customer.items("/v1/orders", {"status": "open"})]
        if not still_open:
            return
        for order_id in still_open:
            if order_id not in asked:
                asked.add(order_id)
                await customer.cancel(order_id)
        if loop.time() > until_s:
            raise CustomerError(f"after {REST_S_MAX:.0f} s {len(still_open)} cancelled orders have not ended")
        await asyncio.sleep(REST_POLL_S)


@asynccontextmanager
async def _insisting(trader: Known, report: MoveReport) -> AsyncIterator[None]:
    """They read and repeat all the time. Raises what the last request raised."""
    number, order_id = next(iter(trader.order_ids.items()))
    key, body = trader.keys[number], trader.bodies[number]
    ends = asyncio.Event()

    async def insist() -> None:
        while not ends.is_set():
            answer = await trader.customer.place(body, key=key)
            await trader.customer.order(order_id)
            report.requests_meanwhile += 2
            if not answer.replayed or answer.body["order_id"] != order_id:
                raise CustomerError(f"the same key answered differently: {answer.body}")

    task = asyncio.create_task(insist())
    try:
        yield
    finally:
        ends.set()
        await task


async def _look_closer(customer: Customer, operation: int, report: MoveReport, view: OperatorView) -> None:
    receipts = await view.json("users", "receipt", str(operation), "--user", report.user_id)
    report.receipt = receipts[0]["claims"]
    pause_us = report.receipt["pause_us"]
    report.pause_ms = None if pause_us is None else pause_us / 1_000
    attested = await view.json("users", "verify", report.user_id, codes=(0, 1))
    report.is_in = str(attested["cell"])
    report.checks_found = sum(attested["findings"].values())
    if report.checks_found:
        report.faults.append(f"after the move {report.user_id} is not right: {attested['findings']}")
    for cell in (report.was_in, report.is_in):
        checks = await view.checks(cell)
        if not checks.get("healthy"):
            report.faults.append(f"after the move: a ledger check of {cell} found something")
    await customer.account()
