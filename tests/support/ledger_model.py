"""What the books of one customer must be, in plain Python: no SQL, no code of the cell.

Amounts are integers of micros, exact values are Fractions. Rules from `design`: a hold rounds up, a fill posts
round-half-even of the cumulative exact cost minus what was posted, the world's reports always post. An order's filled
quantity and exact cost are sums over the trades that stand: a bust takes one away, a correction puts another in its
place.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

MICROS = 1_000_000
UNSEEN = {"armed", "queued", "funds_held"}
"""What the venue has not heard of ends at once."""
ENDED = {"filled", "cancelled", "expired", "rejected", "replaced"}
POSITION_MAX = 500_000 * MICROS
VALUE_PER_MINUTE_MAX = 1_000_000 * MICROS
ORDERS_PER_SECOND_MAX, ORDERS_PER_MINUTE_MAX = 10, 60


def half_even(value: Fraction) -> int:
    return round(value)  # Python's round of a Fraction is half to even


def floor(px: int) -> int:
    """5 % below, up to a whole cent (above a dollar) or hundredth of a cent."""
    exact = Fraction(px * 95, 100)
    tick = 10_000 if exact > MICROS else 100
    return ceil(exact / tick) * tick


def shares_for(amount: int, px: int) -> int:
    return ceil(Fraction(amount * MICROS, px))


def collar(px: int) -> int:
    """5 % above, down to a whole cent (from a dollar on) or hundredth of a cent."""
    tick = 10_000 if px >= MICROS else 100
    return max(px * 105 // 100, 100) // tick * tick


@dataclass
class ModelTrade:
    qty: int
    px: int
    basis: int
    kind: str = "fill"
    ref: str | None = None
    owed: int = 0
    """Of a buy: shares that were owed before it, which it pays first."""
    taken_back_by: str | None = None
    """`bust` or `correct`, once it does not stand any more."""
    reported: tuple[int, int] | None = None
    """It is superseded: the quantity and price that it was reported with; `qty` and `px` are what counts instead."""

    @property
    def content(self) -> tuple[int, int]:
        return self.reported or (self.qty, self.px)


@dataclass
class ModelOrder:
    symbol: str
    side: str
    qty: int
    hold_px: int
    stop_px: int | None = None
    status: str = "funds_held"
    posted: int = 0
    held: int = 0
    trades: dict[str, ModelTrade] = field(default_factory=dict)
    has_limit: bool = True
    expires_at: datetime | None = None
    """The close of its session; None: good till cancelled."""
    is_expiring: bool = False
    """The venue was reported to end it because its day is over."""
    name: str | None = None
    """The customer's own."""
    whole: int | None = None
    """A replacement: the quantity asked for, the replaced order's fills included."""
    replaces: "ModelOrder | None" = None
    amount: int | None = None
    """The dollars that it is for; then its quantity is 0, and `hold_px` of a sale the lowest price."""
    replacement: "ModelOrder | None" = None
    """The one that is pending."""

    @property
    def limit_px(self) -> int | None:
        return self.hold_px if self.has_limit else None

    def worth(self, last_px: int) -> int:
        """What it counts as in the rate limit."""
        if self.amount is not None:
            return self.amount
        px = self.hold_px if self.side == "buy" else self.limit_px or self.stop_px or last_px
        return ceil(Fraction(self.qty * px, MICROS))

    @property
    def standing(self) -> list[ModelTrade]:
        return [trade for trade in self.trades.values() if trade.kind != "bust" and trade.taken_back_by is None]

    @property
    def fills(self) -> dict[str, tuple[int, int]]:
        return {name: trade.content for name, trade in self.trades.items() if trade.kind == "fill"}

    @property
    def cum(self) -> int:
        return sum(trade.qty for trade in self.standing)

    @property
    def exact(self) -> Fraction:
        return Fraction(sum(trade.qty * trade.px for trade in self.standing), MICROS)

    @property
    def leaves(self) -> int:
        return self.qty - self.cum if self.amount is None else 0

    @property
    def is_pending_replacement(self) -> bool:
        return self.replaces is not None and self.replaces.replacement is self

    @property
    def need(self) -> int:
        """What it must hold while it is open: the larger of what it and its pending replacement need."""
        new = self.replacement
        if self.side == "sell":
            return max(self.leaves, 0 if new is None or new.whole is None else new.whole - self.cum)
        own = ceil(self.exact + Fraction(self.leaves * self.hold_px, MICROS)) - self.posted
        if new is None or new.whole is None:
            return own
        return max(own, ceil(Fraction((new.whole - self.cum) * new.hold_px, MICROS)))


@dataclass(eq=False)
class ModelReport:
    """A trade that the venue reported: a fill, or a bust or a correction of the trade `ref`."""

    number: int
    order: ModelOrder
    kind: str
    exec_id: str
    qty: int
    px: int
    ref: str | None = None
    is_last: bool = False
    """The venue says that the order is filled with it, which matters to one by amount."""
    had_ref: bool = False
    """The trade that it takes back was there when it began to wait: it waits for room."""

    @property
    def has_ref(self) -> bool:
        return self.ref in self.order.trades

    def is_due(self, early: "list[ModelReport]") -> bool:
        return self.has_ref != self.had_ref or self.judge(early) != "early"

    def judge(self, early: "list[ModelReport]") -> str:
        """What becomes of it, as the order's trades stand: early is what something else may have to come before, unless
        what takes it back waits for it already; then it is superseded."""
        order, known = self.order, self.order.trades.get(self.exec_id)
        if known is not None:
            is_same = (known.kind, known.ref) == (self.kind, self.ref)
            is_same &= self.kind == "bust" or known.content == (self.qty, self.px)
            return "duplicate" if is_same else "quarantined"
        if order.amount is None and self.qty > order.qty and not order.is_pending_replacement:
            return "quarantined"  # whatever is taken back
        freed, replaces_nothing = 0, True
        if self.ref is not None:
            old = order.trades.get(self.ref)
            if old is None:
                return "early"
            if old.kind == "bust":
                return "quarantined"
            if old.taken_back_by is not None:
                return "duplicate" if self.kind == old.taken_back_by == "bust" else "quarantined"
            freed, replaces_nothing = old.qty, old.qty == 0
        if self.kind == "bust":
            return "applied"
        if order.amount is None:
            has_room = order.cum - freed + self.qty <= order.qty
        elif self.kind == "fill":
            if self.qty * self.px > order.amount * MICROS:
                return "quarantined"
            has_room = int(order.exact * MICROS) + self.qty * self.px <= order.amount * MICROS
        else:  # a corrected price may come to more than the amount: it is what was paid
            more = min(self.qty * self.px, order.amount * MICROS)
            has_room = not replaces_nothing or int(order.exact * MICROS) + more <= order.amount * MICROS
        if has_room:
            return "applied"
        return "superseded" if any(r.order is order and r.ref == self.exec_id for r in early) else "early"


@dataclass
class ModelPosition:
    qty: int = 0
    held: int = 0
    basis: int = 0


@dataclass
class ModelAccount:
    """One customer."""

    is_retail: bool = True
    accepted: list[tuple[datetime, int]] = field(default_factory=list)
    """When orders were accepted, and worth how much."""
    venue_band: tuple[int, int] | None = None
    cash: int = 0
    cash_held: int = 0
    restricted: bool = False
    positions: dict[str, ModelPosition] = field(default_factory=dict)
    orders: dict[str, ModelOrder] = field(default_factory=dict)
    keys: dict[str, tuple[object, str]] = field(default_factory=dict)
    """key -> (the command it was used with, its outcome)"""
    reported: int = 0
    """How many trades the venue reported, known ones included."""
    early: list[ModelReport] = field(default_factory=list)
    """Oldest first."""
    overtaken: list[str] = field(default_factory=list)
    """What became of early reports when what they waited for came, in order; some had to wait again."""
    superseded: list[str] = field(default_factory=list)
    """Kinds of the trades that had no room and were taken back already."""

    def position(self, symbol: str) -> ModelPosition:
        return self.positions.setdefault(symbol, ModelPosition())

    def once(self, key: str, command: object, outcome: str) -> str:
        """What the first use of a key fixes for ever."""
        known = self.keys.get(key)
        if known is not None:
            return known[1] if known[0] == command else "IDEMPOTENCY_KEY_REUSED"
        self.keys[key] = (command, outcome)
        return outcome

    def is_new(self, key: str) -> bool:
        return key not in self.keys

    def deposit(self, amount: int) -> None:
        self.cash += amount

    def take_shares(self, symbol: str, qty: int, unit_cost: int) -> None:
        position = self.position(symbol)
        owned = min(qty, max(0, position.qty + qty))  # what gives back owed shares costs nothing
        position.qty += qty
        position.basis += half_even(Fraction(owned * unit_cost, MICROS))

    def free(self, symbol: str) -> int:
        position = self.position(symbol)
        return position.qty - position.held

    def lift(self) -> str:
        """An operator takes the restriction off, if nothing is owed."""
        if self.cash < 0 or any(self.free(symbol) < 0 for symbol in self.positions):
            return "STILL_OWED"
        was_restricted, self.restricted = self.restricted, False
        return "lifted" if was_restricted else "NOT_RESTRICTED"

    def judge(self, order: ModelOrder, last_px: int, at: datetime) -> str:
        if self.restricted and order.side == "buy" and (order.amount or order.qty > self._owed(order.symbol)):
            return "ACCOUNT_RESTRICTED"
        if self.is_out_of_band(last_px, order.limit_px, order.stop_px):
            return "PRICE_OUT_OF_BAND"
        cost = order.amount or ceil(Fraction(order.qty * order.hold_px, MICROS))
        if order.side == "buy":
            if cost > self.cash:
                return "INSUFFICIENT_BUYING_POWER"
            if self.is_too_much_of(order.symbol, last_px, cost):
                return "POSITION_LIMIT"
        else:
            position = self.position(order.symbol)
            wanted = shares_for(order.amount, order.limit_px or last_px) if order.amount else order.qty
            if wanted > position.qty - position.held:
                return "INSUFFICIENT_SHARES"
        return "ORDER_RATE_LIMIT" if self.is_too_fast(order.worth(last_px), at) else "accepted"

    def is_out_of_band(self, last_px: int, *prices: int | None) -> bool:
        low, high = self.venue_band or (0, 0)
        away = [px for px in prices if px is not None and abs(Fraction(px, last_px) - 1) > Fraction(1, 10)]
        return any(not low <= px <= high for px in away)

    def is_too_much_of(self, symbol: str, last_px: int, cost: int, *, instead_of: int = 0) -> bool:
        held = sum(o.held for o in self.orders.values() if o.symbol == symbol and o.side == "buy")
        worth = ceil(Fraction(self.position(symbol).qty * last_px, MICROS)) + held - instead_of
        return self.is_retail and worth + cost > POSITION_MAX

    def is_too_fast(self, worth: int, at: datetime) -> bool:
        minute = [(then, value) for then, value in self.accepted if then > at - timedelta(minutes=1)]
        in_second = sum(then > at - timedelta(seconds=1) for then, _ in minute)
        too_many = in_second >= ORDERS_PER_SECOND_MAX or len(minute) >= ORDERS_PER_MINUTE_MAX
        return self.is_retail and (too_many or sum(value for _, value in minute) + worth > VALUE_PER_MINUTE_MAX)

    def count(self, order: ModelOrder, last_px: int, at: datetime) -> None:
        """An order was accepted."""
        self.accepted.append((at, order.worth(last_px)))

    def _owed(self, symbol: str, *, apart_from: ModelOrder | None = None) -> int:
        """Shares that the customer owes and has not ordered yet, by other orders than one that is to be replaced."""
        ordered = sum(
            10**15 if order.amount else order.leaves
            for order in self.orders.values()
            if order is not apart_from and order.symbol == symbol and order.side == "buy" and order.status not in ENDED
        )
        return max(0, -self.position(symbol).qty - ordered)

    def place(self, order_id: str, order: ModelOrder) -> None:
        if order.side == "buy":
            order.held = order.amount or ceil(Fraction(order.qty * order.hold_px, MICROS))
            self.cash -= order.held
            self.cash_held += order.held
        else:
            order.held = order.qty
            if order.amount:
                position = self.position(order.symbol)
                order.held = min(shares_for(order.amount, order.hold_px), position.qty - position.held)
            self.position(order.symbol).held += order.held
        self.orders[order_id] = order

    def is_reached(self, order: ModelOrder, last_px: int) -> bool:
        assert order.stop_px is not None
        return last_px >= order.stop_px if order.side == "buy" else last_px <= order.stop_px

    def hear_price(self, symbol: str, last_px: int) -> int:
        """Armed stops that the price reaches go on their way; how many."""
        triggered = 0
        for order in self.orders.values():
            if order.status == "armed" and order.symbol == symbol and self.is_reached(order, last_px):
                order.status = "funds_held"
                triggered += 1
        return triggered

    def release_queued(self, at: datetime) -> int:
        """The market is open: what waited for it goes on its way; how many."""
        waiting = [
            o for o in self.orders.values() if o.status == "queued" and (o.expires_at is None or o.expires_at > at)
        ]
        for order in waiting:
            order.status = "funds_held"
        return len(waiting)

    def expire(self, closes_at: datetime) -> tuple[int, int]:
        """A day is over: how many of its orders ended, and of how many the venue was reported."""
        ended = reported = 0
        for order in self.orders.values():
            if order.expires_at != closes_at:
                continue
            if order.status in UNSEEN:
                self.end(order, "expired")
                ended += 1
            elif order.status in ("routed", "partially_filled"):
                order.status, order.is_expiring = "pending_cancel", True
                reported += 1
        return ended, reported

    def end(self, order: ModelOrder, status: str) -> None:
        """What the venue cancels because the day is over has expired."""
        self._release(order, order.held)
        order.status = "expired" if status == "cancelled" and order.is_expiring else status

    def _release(self, order: ModelOrder, amount: int) -> None:
        order.held -= amount
        if order.side == "buy":
            self.cash += amount
            self.cash_held -= amount
        else:
            self.position(order.symbol).held -= amount

    def judge_replace(
        self, order: ModelOrder, qty: int | None, limit_px: int | None, *, is_fresh: bool, last_px: int, at: datetime,
        name: str | None = None,
    ) -> str:  # fmt: skip
        if not is_fresh:
            return "STALE_ETAG"
        if order.status not in UNSEEN | {"routed", "partially_filled"}:
            return "ORDER_NOT_OPEN"
        if order.amount is not None:
            return "ORDER_NOT_REPLACEABLE"
        if limit_px is not None and not order.has_limit:
            return "INVALID_FIELD"
        left = (qty or order.qty) - order.cum
        if left <= 0:
            return "QTY_BELOW_FILLED"
        if order.side == "buy" and self.restricted and left > self._owed(order.symbol, apart_from=order):
            return "ACCOUNT_RESTRICTED"
        if name is not None and any(known.name == name for known in self.orders.values()):
            return "DUPLICATE_CLIENT_ORDER_ID"
        if limit_px != order.limit_px and self.is_out_of_band(last_px, limit_px):
            return "PRICE_OUT_OF_BAND"
        if order.side == "buy":
            cost = ceil(Fraction(left * (limit_px or order.hold_px), MICROS))
            if cost - order.held > max(self.cash, 0):
                return "INSUFFICIENT_BUYING_POWER"
            if cost > order.held and self.is_too_much_of(order.symbol, last_px, cost, instead_of=order.held):
                return "POSITION_LIMIT"
        else:
            position = self.position(order.symbol)
            if left - order.held > max(position.qty - position.held, 0):
                return "INSUFFICIENT_SHARES"
        worth = self._replacement(order, qty, limit_px).worth(last_px)
        return "ORDER_RATE_LIMIT" if self.is_too_fast(worth, at) else "accepted"

    @staticmethod
    def _replacement(order: ModelOrder, qty: int | None, limit_px: int | None) -> ModelOrder:
        whole = qty or order.qty
        return ModelOrder(
            order.symbol, order.side, whole - order.cum, limit_px or order.hold_px, order.stop_px, order.status,
            has_limit=order.has_limit, whole=whole, replaces=order, expires_at=order.expires_at,
        )  # fmt: skip

    def replace(
        self, order: ModelOrder, new_id: str, qty: int | None, limit_px: int | None, *, last_px: int, at: datetime,
        name: str | None = None,
    ) -> None:  # fmt: skip
        new = self._replacement(order, qty, limit_px)
        new.name = name
        self.count(new, last_px, at)
        if order.status in UNSEEN:
            self.end(order, "replaced")
            self.place(new_id, new)
            return
        self.orders[new_id] = new
        order.replacement = new
        order.status = new.status = "pending_replace"
        self._release(order, min(0, order.held - order.need))

    def replaced(self, new: ModelOrder, left: int | None = None) -> str:
        """The venue says that the replacement is live, with this much left; with nothing left, both have ended."""
        old = new.replaces
        if old is None or not new.is_pending_replacement:
            return "duplicate"
        assert new.whole is not None
        left = new.whole - old.cum if left is None else left
        old.replacement = None
        if old.status == "pending_replace":
            self.end(old, "replaced")
        if left <= 0:
            new.status = "cancelled"
            return "applied"
        new.qty, new.status = left, "routed"
        self._release(new, -new.need)
        self._restrict(new)
        return "applied"

    def replace_rejected(self, new: ModelOrder) -> str:
        old = new.replaces
        if old is None or not new.is_pending_replacement:
            return "duplicate"
        old.replacement = None
        new.status = "rejected"
        if old.status == "pending_replace":
            old.status = "partially_filled" if old.cum else "routed"
            self._release(old, max(0, old.held - old.need))
        return "applied"

    def cancel(self, order: ModelOrder) -> str:
        if order.status in UNSEEN:
            self.end(order, "cancelled")
            return "cancelled"
        if order.status in ENDED or order.status == "pending_replace":
            return "ORDER_NOT_OPEN"
        order.status = "pending_cancel"
        return "pending_cancel"

    def fill(self, order: ModelOrder, exec_id: str, qty: int, px: int, *, is_last: bool = False) -> str:
        return self._hear(ModelReport(self.reported, order, "fill", exec_id, qty, px, is_last=is_last))

    def revise(self, order: ModelOrder, kind: str, exec_id: str, ref: str, qty: int = 0, px: int = 0) -> str:
        """A bust, or a correction to another quantity and price, of the trade `ref`."""
        return self._hear(ModelReport(self.reported, order, kind, exec_id, qty, px, ref))

    def _hear(self, report: ModelReport) -> str:
        """Of the early reports for which it came what they waited for the oldest goes first, and may end another one's
        waiting, or take its room."""
        self.reported += 1
        outcome = self._apply(report)
        back: list[ModelReport] = []
        while True:
            back += [early for early in self.early if early.is_due(self.early)]
            self.early = [early for early in self.early if early not in back]
            if not back:
                return outcome
            oldest = min(back, key=lambda early: early.number)
            back.remove(oldest)
            self.overtaken.append(self._apply(oldest))

    def _apply(self, report: ModelReport) -> str:
        order, outcome = report.order, report.judge(self.early)
        old = None if report.ref is None else order.trades.get(report.ref)
        if outcome == "early":
            report.had_ref = report.has_ref
            self.early = sorted([*self.early, report], key=lambda early: early.number)
            return outcome
        if outcome not in ("applied", "superseded"):
            return outcome
        if old is not None:
            old.taken_back_by = report.kind
        if outcome == "superseded":
            self.superseded.append(report.kind)
            stands = (0, report.px, 0) if old is None else (old.qty, old.px, old.basis)
            trade = order.trades[report.exec_id] = ModelTrade(*stands, report.kind, report.ref)
            trade.owed, trade.reported = 0 if old is None else old.owed, (report.qty, report.px)
        elif old is None or (old.qty == 0 and report.kind == "correct"):
            self._trade(report)
        else:
            self._revise(report, old)
        return "applied"

    def _trade(self, report: ModelReport) -> None:
        order, qty = report.order, report.qty
        trade = order.trades[report.exec_id] = ModelTrade(qty, report.px, 0, report.kind, report.ref)
        cost = self._post(order, "last fill" if report.is_last else report.kind)
        position = self.position(order.symbol)
        if order.side == "buy":
            trade.owed = max(0, -position.qty)
            owned = max(0, qty - trade.owed)  # what buys back owed shares is no part of the cost
            trade.basis = half_even(Fraction(cost * owned, qty))
            position.basis += trade.basis
            position.qty += qty
        else:
            trade.basis = position.basis
            if position.qty > qty:
                trade.basis = half_even(Fraction(position.basis * qty, position.qty))
            position.basis -= trade.basis
            position.qty -= qty
        self._hold_again(order, qty, upwards=False)
        self._restrict(order)

    def _revise(self, report: ModelReport, old: ModelTrade) -> None:
        order, kind, qty, px = report.order, report.kind, report.qty, report.px
        trade = order.trades[report.exec_id] = ModelTrade(qty, px, 0, kind, report.ref)
        cost = self._post(order, kind)
        position = self.position(order.symbol)
        if order.side == "buy":
            position.qty += qty - old.qty
            trade.owed = old.owed
            change = cost
            if old.owed:
                owned, owned_before = max(0, qty - old.owed), max(0, old.qty - old.owed)
                change = half_even(Fraction(owned * px - owned_before * old.px, MICROS))
                change = -old.basis if kind == "bust" else change
            position.basis = max(0, position.basis + change)
            trade.basis = max(0, old.basis + change) if kind == "correct" else 0
        else:
            position.qty -= qty - old.qty
            trade.basis = half_even(Fraction(old.basis * qty, old.qty)) if old.qty else 0
            position.basis = max(0, position.basis + old.basis - trade.basis)
        if position.qty <= 0:
            position.basis = 0
        self._hold_again(order, qty - old.qty, upwards=True)
        self._restrict(order)

    def _post(self, order: ModelOrder, kind: str) -> int:
        """Post what the trades that stand cost beyond what was posted; the status follows the quantity."""
        cost = half_even(order.exact) - order.posted
        order.posted += cost
        self.cash += cost if order.side == "sell" else -cost
        is_filled = order.leaves == 0
        if order.amount is not None:
            is_filled = kind == "last fill" or (order.status == "filled" and kind != "bust")
        if is_filled:
            order.status = "filled"
        elif order.status == "filled":
            order.status = "cancelled"
        elif order.status not in ENDED | {"pending_cancel", "pending_replace"}:
            order.status = "partially_filled" if order.cum else "routed"
        return cost

    def _hold_again(self, order: ModelOrder, change: int, *, upwards: bool) -> None:
        if order.amount is not None:  # what is left of the amount, or of the shares that were held for it
            need = max(0, order.amount - order.posted if order.side == "buy" else order.held - change)
        else:
            need = order.need
        keep = 0 if order.status in ENDED else need
        self._release(order, order.held - keep if upwards else max(0, order.held - keep))

    def _restrict(self, order: ModelOrder) -> None:
        position = self.position(order.symbol)
        self.restricted |= self.cash < 0 or position.qty < position.held
