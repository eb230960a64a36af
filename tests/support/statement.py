"""What a customer's books must say, from three sources alone: what they sent, what was answered, and what the exchange
wrote down and reported. Shares no code with the cell, reads none of its tables, and needs nothing but whole numbers.

Rules, from the design: a hold rounds up; a fill posts round-half-even(exact cost so far) minus what is posted; a sale
takes its part of the cost basis, half to even; a bust or a correction takes back what the trade had done; what pays
shares that were owed has no cost. An order's end at the venue is its end; what the venue never saw ends as answered.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.support.hostile_customer import Ask, Heard, Write

MICROS = 1_000_000
STATUS_OF = {"new": "routed"}
LEFT_OUT = {"ord_type": "limit", "time_in_force": "day"}
"""What the exchange's log does not say, because it is the usual."""
ENDED = {"filled", "cancelled", "rejected", "expired", "replaced"}


def micros(text: str | int | None) -> int:
    value = Decimal(str(text or 0)) * MICROS
    assert value == int(value), text
    return int(value)


def half_even(value: Fraction) -> int:
    return round(value)  # Python's round of a Fraction is half to even


@dataclass(frozen=True)
class VenueOrder:
    """A row of the exchange's own log."""

    status: str
    cum_qty: int
    cum_cost: int
    """In 1e-12 dollars."""
    executions: int
    terms: Mapping[str, Any]


@dataclass
class Trade:
    qty: int
    px: int
    basis: int = 0
    owed: int = 0
    stands: bool = True


@dataclass
class Order:
    """An order of the customer, as the answers made it."""

    order_id: str
    terms: dict[str, Any]
    """As the answer that made it says: what it is, not how it fares."""
    replaces: str | None = None
    replaced_by: str | None = None
    was_pending: bool = False
    """It began as a replacement that the venue had to agree to."""
    ended: str | None = None
    """By an answer, before the venue ever saw it."""
    venue: VenueOrder | None = None
    trades: dict[str, Trade] = field(default_factory=dict)
    costs: list[int] = field(default_factory=list)
    """What each of its executions posted, in order."""
    exact: int = 0
    posted: int = 0

    @property
    def is_buy(self) -> bool:
        return bool(self.terms["side"] == "buy")

    @property
    def amount(self) -> int | None:
        return None if self.terms["notional"] is None else micros(self.terms["notional"])

    @property
    def is_refused_replacement(self) -> bool:
        return self.was_pending and self.venue is not None and self.status == "rejected"

    @property
    def status(self) -> str:
        if self.venue is not None:
            return STATUS_OF.get(self.venue.status, self.venue.status)
        return self.ended or ("armed" if self.terms["stop_price"] is not None else "unsent")

    @property
    def qty(self) -> int | None:
        """The venue counts a replacement from what was left when it took it."""
        if self.amount is not None:
            return None
        if self.was_pending and self.venue is not None and not self.is_refused_replacement:
            return int(self.venue.terms["order_qty"])
        return micros(self.terms["qty"])

    @property
    def cum_qty(self) -> int:
        return 0 if self.venue is None else self.venue.cum_qty

    @property
    def held(self) -> int:
        """What it keeps from other uses while it is open: dollars of a buy, shares of a sale."""
        if self.status in ENDED:
            return 0
        if self.amount is not None:
            return max(0, self.amount - self.posted if self.is_buy else micros(self.terms["held"]) - self.cum_qty)
        assert self.qty is not None
        leaves = self.qty - self.cum_qty
        if not self.is_buy:
            return leaves
        if self.venue is None:
            return micros(self.terms["held"])
        return -(-(self.exact + leaves * int(self.venue.terms["limit_px"])) // MICROS) - self.posted


@dataclass
class Position:
    qty: int = 0
    held: int = 0
    basis: int = 0


class Statement:
    """Made once, after everything has come to rest."""

    def __init__(self, writes: Iterable[Write], reports: Iterable[Mapping[str, Any]], log: Mapping[str, VenueOrder]):
        self.problems: list[str] = []
        self.deposits: dict[str, int] = {}
        self.transfers: dict[str, tuple[str, int]] = {}
        self.orders: dict[str, Order] = {}
        self.positions: dict[str, Position] = {}
        done = [(write, *found) for write in writes if (found := write.done()) is not None]
        for write, ask, heard in done:
            self._make(write, ask, heard)
        for write, ask, heard in done:
            self._end(write, ask, heard)
        for order_id, order in self.orders.items():
            order.venue = log.get(order_id)
        for order in self.orders.values():
            self._link(order)
        for report in reports:
            self._tell(report)
        for order in self.orders.values():
            self._settle(order)

    @property
    def cash(self) -> int:
        paid = sum(order.posted if order.is_buy else -order.posted for order in self.orders.values())
        return sum(self.deposits.values()) - paid - self.cash_held

    @property
    def cash_held(self) -> int:
        return sum(order.held for order in self.orders.values() if order.is_buy)

    # -- what was answered --------------------------------------------------------------------------------------------

    def _make(self, write: Write, ask: Ask, heard: Heard) -> None:
        said, asked = heard.body, ask.body or {}
        if heard.status == 201 and ask.path == "/v1/deposits":
            self.deposits[said["deposit_id"]] = micros(asked["amount"])
        elif heard.status == 201 and ask.path == "/v1/share-transfers":
            symbol, qty = asked["symbol"], micros(asked["qty"])
            self.transfers[said["transfer_id"]] = symbol, qty
            position = self.positions.setdefault(symbol, Position())
            position.qty += qty
            position.basis += half_even(Fraction(qty * micros(asked["unit_cost"]), MICROS))
        elif heard.status == 201 and ask.path == "/v1/orders":
            self._compare(said["order_id"], {"time_in_force": "day", "client_order_id": None, **asked}, said)
            self.orders[said["order_id"]] = Order(said["order_id"], said)
        elif heard.status == 202 and write.method == "PATCH":
            self._compare(said["order_id"], {name: value for name, value in asked.items() if name != "qty"}, said)
            self.orders[said["order_id"]] = Order(
                said["order_id"], said, replaces=said["replaces"], was_pending=said["status"] == "pending_replace"
            )

    def _compare(self, order_id: str, asked: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        for name, value in asked.items():
            is_number = name in ("qty", "notional", "limit_price", "stop_price")
            if (micros(value) != micros(said[name])) if is_number else value != said[name]:
                self.problems.append(f"order {order_id}: asked for {name} {value}, answered {said[name]}")

    def _end(self, write: Write, ask: Ask, heard: Heard) -> None:
        if write.method == "DELETE" and heard.status == 200:
            self.orders[heard.body["order_id"]].ended = "cancelled"
        elif write.method == "PATCH" and heard.status == 202 and heard.body["status"] != "pending_replace":
            self.orders[heard.body["replaces"]].ended = "replaced"

    def _link(self, order: Order) -> None:
        if order.venue is not None and order.ended is not None:
            self.problems.append(f"order {order.order_id} was {order.ended} before the venue saw it; the venue has it")
        if order.replaces is not None and not order.is_refused_replacement:
            old = self.orders[order.replaces]
            if old.replaced_by is not None:
                self.problems.append(f"order {old.order_id} was replaced twice")
            old.replaced_by = order.order_id
        if order.venue is None or order.was_pending:
            return
        sent, terms = order.venue.terms, order.terms
        wanted = {
            "symbol": terms["symbol"],
            "side": terms["side"],
            "time_in_force": terms["time_in_force"],
            "cash_qty": order.amount,
            "ord_type": "market" if terms["type"] in ("market", "stop") else "limit",
            "client_order_id": terms["client_order_id"],
        }
        if order.qty is not None:
            wanted["order_qty"] = order.qty
        if terms["limit_price"] is not None:
            wanted["limit_px"] = micros(terms["limit_price"])
        for name, value in wanted.items():
            if sent.get(name, LEFT_OUT.get(name)) != value:
                self.problems.append(f"order {order.order_id}: the venue got {name} {sent.get(name)}, not {value}")
        if order.is_buy and order.amount is None:
            first_hold = -(-micros(terms["qty"]) * sent["limit_px"] // MICROS)
            if micros(terms["held"]) != first_hold:
                self.problems.append(f"order {order.order_id}: held {terms['held']} at first, not {first_hold}")

    # -- what the venue reported -------------------------------------------------------------------------------------

    def _tell(self, report: Mapping[str, Any]) -> None:
        order = self.orders.get(report["cl_ord_id"])
        name = report["exec_id"]
        if order is None or name is None or name in order.trades:
            return  # somebody else's, no trade, or reported before (perhaps with another price: the first one stands)
        position = self.positions.setdefault(order.terms["symbol"], Position())
        if report["kind"] == "fill":
            self._fill(order, position, name, Trade(report["last_qty"], report["last_px"]))
        else:
            self._revise(order, position, report)
        if position.qty <= 0:
            position.basis = 0

    @staticmethod
    def _post(order: Order, exact_change: int) -> int:
        order.exact += exact_change
        cost = half_even(Fraction(order.exact, MICROS)) - order.posted
        order.posted += cost
        order.costs.append(cost)
        return cost

    def _fill(self, order: Order, position: Position, name: str, trade: Trade) -> None:
        cost = self._post(order, trade.qty * trade.px)
        order.trades[name] = trade
        if order.is_buy:
            trade.owed = max(0, -position.qty)
            trade.basis = cost
            if trade.owed:
                trade.basis = half_even(Fraction(cost * max(0, trade.qty - trade.owed), trade.qty))
            position.basis += trade.basis
            position.qty += trade.qty
        else:
            trade.basis = position.basis
            if position.qty > trade.qty:
                trade.basis = half_even(Fraction(position.basis * trade.qty, position.qty))
            position.basis -= trade.basis
            position.qty -= trade.qty

    def _revise(self, order: Order, position: Position, report: Mapping[str, Any]) -> None:
        old = order.trades.get(report["exec_ref_id"])
        if old is None or not old.stands:
            return
        old.stands = False
        is_bust = report["kind"] == "bust"
        qty, px = (0, 0) if is_bust else (report["last_qty"], report["last_px"])
        cost = self._post(order, qty * px - old.qty * old.px)
        new = Trade(qty, px, owed=old.owed, stands=not is_bust)
        if order.is_buy:
            change = cost
            if old.owed:
                part, old_part = max(0, qty - old.owed), max(0, old.qty - old.owed)
                change = -old.basis if is_bust else half_even(Fraction(part * px - old_part * old.px, MICROS))
            new.basis = max(0, old.basis + change)
            position.qty += qty - old.qty
            position.basis = max(0, position.basis + change)
        else:
            new.basis = half_even(Fraction(old.basis * qty, old.qty))
            position.qty -= qty - old.qty
            position.basis = max(0, position.basis + old.basis - new.basis)
        order.trades[report["exec_id"]] = new

    def _settle(self, order: Order) -> None:
        """The trades that were reported are those of the log; what is held of a sale is held in its position."""
        qty = sum(trade.qty for trade in order.trades.values() if trade.stands)
        if order.venue is not None and not order.is_refused_replacement:
            reported = (qty, order.exact, len(order.trades))
            written = (order.venue.cum_qty, order.venue.cum_cost, order.venue.executions)
            if reported != written:
                self.problems.append(f"order {order.order_id}: the venue reported {reported}, and wrote down {written}")
        if not order.is_buy:
            self.positions.setdefault(order.terms["symbol"], Position()).held += order.held
