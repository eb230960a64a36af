"""A customer's books as read through the API, and every difference to their statement, in words."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from hashlib import sha256
from typing import Any

from tests.support.hostile_customer import HostileCustomer, Write
from tests.support.statement import ENDED, MICROS, Order, Statement, half_even, micros

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def wrong_answers(write: Write) -> Iterator[str]:
    """One key, one content, one answer: whoever was asked, however often, and whatever died meanwhile."""
    owners = []
    for ask in write.asks:
        stored = [heard for heard in ask.heard if heard.code != "IDEMPOTENCY_KEY_REUSED"]
        if stored:
            owners.append(ask)
        if not ask.heard:
            yield f"{write.method} {ask.path} under {write.key} was never answered"
        if stored and len(stored) != len(ask.heard):
            yield f"{write.method} {ask.path} under {write.key} was answered and refused: {ask.heard}"
        if len({(heard.status, _steady(heard.body)) for heard in stored}) > 1:
            yield f"{write.method} {ask.path} under {write.key} has several answers: {stored}"
        if sum(not heard.replayed for heard in stored) > 1:
            yield f"{write.method} {ask.path} under {write.key} was done more than once: {stored}"
        if any(heard.status >= 500 or heard.status in (400, 401, 421, 429) for heard in ask.heard):
            yield f"{write.method} {ask.path} under {write.key}: {ask.heard}"
    if len(owners) != 1:
        yield f"{write.method} under {write.key}: {len(owners)} contents were taken, not one"


def _steady(body: Any) -> str:
    return repr(sorted((name, value) for name, value in body.items() if name != "request_id"))


async def differences(customer: HostileCustomer, statement: Statement) -> list[str]:
    found = [*statement.problems, *(word for write in customer.writes for word in wrong_answers(write))]
    account, portfolio = await customer.read("/v1/account"), await customer.read("/v1/portfolio")
    positions = {row["symbol"]: row for row in await customer.read_all("/v1/positions")}
    orders = await customer.read_all("/v1/orders")
    ledger = await customer.read_all("/v1/ledger")

    def check(what: str, expected: object, seen: object) -> None:
        if expected != seen:
            found.append(f"{what}: should be {expected}, is {seen}")

    check("cash", statement.cash, micros(account["cash"]))
    check("held cash", statement.cash_held, micros(account["cash_held"]))
    check("buying power", max(0, statement.cash), micros(account["buying_power"]))
    check("cash of the portfolio", statement.cash + statement.cash_held, micros(portfolio["cash"]))
    check("positions of the portfolio", list(positions.values()), portfolio["positions"])
    worth = sum(micros(row["market_value"]) for row in positions.values())
    check("equity", micros(portfolio["cash"]) + worth, micros(portfolio["equity"]))
    wanted = {symbol: p for symbol, p in statement.positions.items() if p.qty or p.held}
    check("symbols", sorted(wanted), sorted(positions))
    for symbol, position in wanted.items():
        row = positions.get(symbol, {"qty": "0", "qty_held": "0", "cost_basis": "0"})
        seen = tuple(micros(row[name]) for name in ("qty", "qty_held", "cost_basis"))
        check(f"quantity, held and basis of {symbol}", (position.qty, position.held, position.basis), seen)
    owes = statement.cash < 0 or any(p.qty < p.held for p in wanted.values())
    if owes and not account["restricted"]:
        found.append("the account owes and is not restricted")

    check("orders", sorted(statement.orders), [row["order_id"] for row in orders])
    for row in orders:
        if (order := statement.orders.get(row["order_id"])) is not None:
            for name, expected in _order_fields(order).items():
                check(
                    f"order {order.order_id} {order.terms['type']} {order.terms['side']}, {name}", expected, row[name]
                )
            await _check_history(customer, order, row, check)
    _check_ledger(customer, statement, ledger, check)
    return found


def _order_fields(order: Order) -> dict[str, object]:
    qty, ended = order.qty, order.status in ENDED
    leaves = 0 if ended else None if qty is None else qty - order.cum_qty
    average = half_even(Fraction(order.exact, order.cum_qty)) if order.cum_qty else None
    same = ("symbol", "side", "type", "time_in_force", "notional", "limit_price", "stop_price", "client_order_id")
    return {
        **{name: order.terms[name] for name in same},
        "status": order.status,
        "qty": _shown(qty),
        "cum_qty": _shown(order.cum_qty),
        "leaves_qty": _shown(leaves),
        "avg_px": _shown(average),
        "held": _shown(order.held),
        "replaces": order.replaces,
        "replaced_by": order.replaced_by,
    }


def _shown(value: int | None) -> str | None:
    return None if value is None else f"{'-' if value < 0 else ''}{abs(value) // MICROS}.{abs(value) % MICROS:06d}"


async def _check_history(customer: HostileCustomer, order: Order, row: Any, check: Any) -> None:
    what = f"order {order.order_id}"
    events = await customer.read_all(f"/v1/orders/{order.order_id}/events")
    check(f"{what}, steps", list(range(1, len(events) + 1)), [event["seq"] for event in events])
    check(f"{what}, etag", f'"{len(events)}"', row["etag"])
    check(f"{what}, chain of steps", [None, *(e["to"] for e in events[:-1])], [e["from"] for e in events])
    check(f"{what}, last step", row["status"], events[-1]["to"])
    executions = await customer.read_all(f"/v1/orders/{order.order_id}/executions") if order.trades else []
    check(f"{what}, executions", sorted(order.trades), sorted(item["exec_id"] for item in executions))
    for kind in ("client", "venue"):
        name = row[f"{kind}_order_id"]
        if name is not None:
            found = await customer.read(f"/v1/orders/by-{kind}-order-id/{name}")
            check(f"the order named {name}", order.order_id, found["order_id"])


def _check_ledger(customer: HostileCustomer, statement: Statement, ledger: list[Any], check: Any) -> None:
    """The customer proves their own journal: chain, balance, and that it adds up to what they have."""
    totals: Counter[tuple[str, str]] = Counter()
    traded: defaultdict[str, list[int]] = defaultdict(list)
    brought: dict[str, str] = {}
    previous = "0" * 64
    for number, entry in enumerate(ledger, 1):
        lines = []
        balance: Counter[str] = Counter()
        for line, posting in enumerate(entry["postings"], 1):
            direction = "debit" if "debit" in posting else "credit"
            amount = micros(posting[direction])
            lines.append(f"{line},{posting['account']},{posting['unit']},{direction},{amount}")
            signed = amount if direction == "credit" else -amount
            totals[posting["account"], posting["unit"]] += signed
            balance[posting["unit"]] += signed
        at = (datetime.fromisoformat(entry["occurred_at"]) - EPOCH) / (EPOCH.resolution)
        text = "|".join(
            ("1", str(customer.user_id), str(number), entry["entry_id"], entry["kind"], entry["order_id"] or "-")
        )
        digest = sha256(bytes.fromhex(previous) + f"{text}|{int(at)}|{';'.join(lines)}".encode()).hexdigest()
        check(f"entry {number}", (number, previous, digest), (entry["seq"], entry["previous_hash"], entry["hash"]))
        check(f"balance of entry {number}", set(), {unit for unit, rest in balance.items() if rest})
        previous = entry["hash"]
        if entry["kind"] in ("fill", "bust", "correct"):
            moved = sum(
                micros(p.get("credit")) - micros(p.get("debit"))
                for p in entry["postings"]
                if p["account"] == "clearing" and p["unit"] == "USD"
            )
            traded[entry["order_id"]].append(moved)
        elif entry["kind"] in ("deposit", "share_transfer"):
            brought[entry["entry_id"]] = entry["kind"]
    check("folded cash", statement.cash, totals["cash", "USD"])
    check("folded held cash", statement.cash_held, totals["cash_held", "USD"])
    for symbol, position in statement.positions.items():
        folded = (totals["shares", symbol], totals["shares_held", symbol])
        check(f"folded shares of {symbol}", (position.qty - position.held, position.held), folded)
    expected = dict.fromkeys(statement.deposits, "deposit") | dict.fromkeys(statement.transfers, "share_transfer")
    check("deposits and transfers", expected, brought)
    for order in statement.orders.values():
        paid = [cost if order.is_buy else -cost for cost in order.costs]
        seen = traded.get(order.order_id, [])
        # dust may trade for nothing, and a correction that changes nothing has no entry
        check(f"postings of {order.order_id}", [c for c in paid if c], [c for c in seen if c])
