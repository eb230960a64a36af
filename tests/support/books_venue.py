"""What the venue does to orders that it has: fills early, late and twice, ends, answers to replacements."""

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from tests.support.books_machine import SYMBOL, near_prices, quantities, venue_prices
from tests.support.books_market import MarketRules
from tests.support.ledger_model import ENDED, ModelOrder, collar, floor, shares_for

RACE_ENDINGS = [
    "replaced",
    "for nothing",
    "replace_rejected",
    "implied",
    "cancelled",
    "the new one cancelled",
    "bust",
    "none",
]


class VenueRules(MarketRules):
    @rule(
        side=st.sampled_from(["buy", "sell"]),
        amount=st.one_of(st.integers(1_000_000, 400_000_000), st.just(5_000_000)),
        is_limit=st.booleans(),
        ending=st.sampled_from(["filled", "filled", "cancelled", "bust", "correct", "open"]),
    )
    def an_amount_trades(self, side: str, amount: int, is_limit: bool, ending: str) -> None:
        """Half of it, then more than is left of it, then more than all of it, then the rest, or another end."""
        if not self._can_trade():
            return
        px = self.last_px
        self.deposit(amount) if side == "buy" else self.transfer(shares_for(amount, px), px)
        hold_px = px if is_limit else collar(px) if side == "buy" else floor(px)
        order = ModelOrder(SYMBOL, side, 0, hold_px, has_limit=is_limit, amount=amount)
        expected = self._enter(order, "gtc")
        terms = (side, "limit" if is_limit else "market", None, "gtc", None, px if is_limit else None, amount)
        key = self._send("place", terms, expected)
        if expected != "accepted":
            return
        self._accept(key, order)
        self.route()
        self._change(key, 1_000_000, None)  # orders by amount are not replaced
        self._fill_amount(key, order, shares_for(amount // 2, px), px, is_last=False)
        room = int((amount - order.exact) * 1_000_000 // px)
        if ending != "bust" or is_limit:  # else it would fill what the bust opens
            self._fill_amount(key, order, room + 1, px, is_last=True)
        self._fill_amount(key, order, shares_for(amount, px) + 1, px, is_last=True)
        if ending == "filled":
            self._fill_amount(key, order, room, px, is_last=True)
        elif ending == "cancelled":
            assert self._report(key, "cancelled") == "applied"
            self.model.end(order, "cancelled")
        elif ending in ("bust", "correct"):
            exec_id, ref = f"e{next(self.numbers):04}", min(order.trades)
            qty, better = (order.cum, px + 10_000) if ending == "correct" else (0, 0)
            reported = {"last_qty": qty, "last_px": better} if ending == "correct" else {}
            assert self._report(key, ending, exec_id=exec_id, exec_ref_id=ref, **reported) == "applied"
            assert self.model.revise(order, ending, exec_id, ref, qty, better) == "applied"
            self.met[f"a {ending} of an amount: {order.status}"] += 1

    def _fill_amount(self, name: str, order: ModelOrder, qty: int, px: int, *, is_last: bool) -> None:
        exec_id, reported = f"e{next(self.numbers):04}", "filled" if is_last else "partially_filled"
        expected = self.model.fill(order, exec_id, qty, px, is_last=is_last)
        assert self._report(name, "fill", exec_id=exec_id, last_qty=qty, last_px=px, ord_status=reported) == expected
        self.met[f"{order.side} by amount filled: {expected}, {order.status}"] += 1

    @precondition(lambda self: self._pending())
    @rule(
        data=st.data(), verdict=st.sampled_from(["replaced", "for nothing", "cancelled", "replace_rejected", "implied"])
    )
    def replacement_is_answered(self, data: st.DataObject, verdict: str) -> None:
        """Confirmed, refused, or shown to be live by a fill that nobody announced; the old one may have ended."""
        self._answer(data.draw(st.sampled_from(self._pending())), verdict)

    def _answer(self, name: str, verdict: str) -> None:
        new = self.model.orders[name]
        assert new.replaces is not None
        self.met[f"{verdict} when the old one is {new.replaces.status}"] += 1
        if verdict == "replace_rejected":
            assert self._report(name, verdict) == self.model.replace_rejected(new) == "applied"
        elif verdict in ("replaced", "for nothing"):
            left = None if verdict == "replaced" else 0
            assert self._report(name, "replaced", leaves_qty=left) == self.model.replaced(new, left) == "applied"
            self.met[f"replaced: the new one is {new.status}"] += 1
            assert self._report(name, "replaced") == self._report(name, "replace_rejected") == "duplicate"
        elif verdict == "cancelled":
            assert self.model.replaced(new) == "applied"
            was_live = new.status == "routed"
            assert self._report(name, verdict) == ("applied" if was_live else "duplicate")
            if was_live:
                self.model.end(new, verdict)
        elif new.whole is not None and new.whole > new.replaces.cum:
            assert self.model.replaced(new) == "applied"
            exec_id, qty = f"e{next(self.numbers):04}", max(1, new.qty // 2)
            assert self.model.fill(new, exec_id, qty, new.hold_px) == "applied"
            reported = {"exec_id": exec_id, "last_qty": qty, "last_px": new.hold_px}
            assert self._report(name, "fill", **reported) == "applied"
            self.met["a fill shows a replacement to be live"] += 1
        else:
            assert self._report(name, "fill", exec_id="none", last_qty=1, last_px=new.hold_px) == "quarantined"

    @rule(
        side=st.sampled_from(["buy", "sell"]),
        qty=st.integers(10, 3_000_000),
        px=near_prices,
        new_px=near_prices,
        factor=st.sampled_from([0.25, 0.5, 1, 2]),
        filled_before=st.booleans(),
        races=st.lists(
            st.tuples(st.sampled_from(["nothing", "some", "all"]), st.sampled_from(RACE_ENDINGS)),
            min_size=3,
            max_size=3,
        ),
    )
    def replacements_race(
        self, side: str, qty: int, px: int, new_px: int, factor: float, filled_before: bool,
        races: list[tuple[str, str]],
    ) -> None:  # fmt: skip
        """Place, fill some, replace, fill some or all of it meanwhile, and then the venue answers; some in a row."""
        for filled_meanwhile, ending in races:
            self._race(side, qty, px, new_px, factor, filled_before, filled_meanwhile, ending)

    def _race(
        self, side: str, qty: int, px: int, new_px: int, factor: float, filled_before: bool, filled_meanwhile: str,
        ending: str,
    ) -> None:  # fmt: skip
        if not self._can_trade():
            return
        self.deposit(3 * qty * px // 1_000_000 + 1) if side == "buy" else self.transfer(qty, px)
        order = ModelOrder(SYMBOL, side, qty, px)
        expected = self._enter(order, "gtc")
        key = self._send("place", (side, "limit", qty, "gtc", None, px), expected)
        if expected != "accepted":  # too far from the last price, or too large a position
            return
        self._accept(key, order)
        self.route()
        if filled_before:
            self._trade(key, order, max(1, order.leaves // 3))
        position = self.model.position(SYMBOL)
        beyond = order.qty + (self.model.cash * 1_000_000 // px + 2 if side == "buy" else position.qty + 1)
        self._change(key, beyond, None)
        name, outcome = self._change(key, int(qty * factor), new_px)
        if outcome != "accepted":
            return
        if filled_meanwhile != "nothing":
            self._trade(key, order, order.leaves if filled_meanwhile == "all" else max(1, order.leaves // 3))
        if ending == "cancelled" and order.status not in ENDED:
            assert self._report(key, "cancelled") == "applied"
            self.model.end(order, "cancelled")
        elif ending == "bust" and order.trades:
            ref = min(order.trades)
            exec_id = f"e{next(self.numbers):04}"
            assert self._report(key, "bust", exec_id=exec_id, exec_ref_id=ref) == "applied"
            assert self.model.revise(order, "bust", exec_id, ref) == "applied"
            self.met["a bust while a replacement is pending"] += 1
        self.met[f"{filled_meanwhile} filled while a replacement is pending"] += 1
        verdict = {"the new one cancelled": "cancelled", "cancelled": "replace_rejected", "bust": "replace_rejected"}
        if ending != "none":
            self._answer(name, verdict.get(ending, ending))

    def _sent(self, side: str, qty: int, px: int) -> str:
        """A limit order that the venue has; its name."""
        key = self._send("place", (side, "limit", qty, "gtc", None, px), "accepted")
        self._accept(key, ModelOrder(SYMBOL, side, qty, px))
        self.route()
        return key

    def _trade(self, name: str, order: ModelOrder, qty: int) -> None:
        exec_id = f"e{next(self.numbers):04}"
        assert self.model.fill(order, exec_id, qty, order.hold_px) == "applied"
        assert self._report(name, "fill", exec_id=exec_id, last_qty=qty, last_px=order.hold_px) == "applied"

    def _pending(self) -> list[str]:
        return sorted(name for name, order in self.model.orders.items() if order.is_pending_replacement)

    @precondition(lambda self: self._was_routed())
    @rule(data=st.data(), whole=st.booleans(), at_limit=st.booleans(), qty=quantities, px=venue_prices)
    def fill(self, data: st.DataObject, whole: bool, at_limit: bool, qty: int, px: int) -> None:
        name = data.draw(st.sampled_from([n for n in self._routed() if n in self.model_routed]))
        order = self.model.orders[name]
        qty = order.leaves if whole and order.leaves else qty
        px = order.hold_px if at_limit else px
        late = order.status in ENDED
        exec_id = f"e{next(self.numbers):04}"
        reported = {"ord_status": "filled" if whole and order.amount else "partially_filled"}
        if order.amount is not None:
            room = int((order.amount - order.exact) * 1_000_000 // px)
            qty = max(1, room) if whole else qty
        expected = self.model.fill(order, exec_id, qty, px, is_last=whole)
        assert self._report(name, "fill", exec_id=exec_id, last_qty=qty, last_px=px, **reported) == expected
        self.met[f"{'late ' if late else ''}fill: {expected}"] += 1
        if order.amount is not None:
            self.met[f"{order.side} by amount filled: {expected}, {order.status}"] += 1
        if self.model.cash < 0:
            self.met["overdraft"] += 1

    @precondition(lambda self: any(o.status == "partially_filled" and o.leaves for o in self.model.orders.values()))
    @rule(data=st.data())
    def cancel_loses_to_a_fill(self, data: st.DataObject) -> None:
        """The venue ends the order, then reports that the rest was filled after all."""
        partly = sorted(n for n, o in self.model.orders.items() if o.status == "partially_filled" and o.leaves)
        name = data.draw(st.sampled_from(partly))
        order = self.model.orders[name]
        assert self._report(name, "cancelled") == "applied"
        self.model.end(order, "cancelled")
        exec_id, qty = f"e{next(self.numbers):04}", order.leaves
        assert self.model.fill(order, exec_id, qty, order.hold_px) == "applied"
        assert self._report(name, "fill", exec_id=exec_id, last_qty=qty, last_px=order.hold_px) == "applied"
        self.met["late fill: applied"] += 1

    @precondition(lambda self: any(order.fills for order in self.model.orders.values()))
    @rule(data=st.data(), noisy=st.booleans())
    def repeat_a_fill(self, data: st.DataObject, noisy: bool) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, o in self.model.orders.items() if o.fills)))
        order = self.model.orders[name]
        exec_id = data.draw(st.sampled_from(sorted(order.fills)))
        qty, px = order.fills[exec_id]
        px += 10_000 if noisy else 0
        expected = self.model.fill(order, exec_id, qty, px)
        assert expected == ("quarantined" if noisy else "duplicate")
        assert self._report(name, "fill", exec_id=exec_id, last_qty=qty, last_px=px) == expected
        self.met[f"repeated fill: {expected}"] += 1

    @precondition(lambda self: self._was_routed())
    @rule(data=st.data(), kind=st.sampled_from(["accepted", "cancelled", "expired", "rejected", "cancel_rejected"]))
    def tell(self, data: st.DataObject, kind: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.model_routed)))
        order = self.model.orders[name]
        outcome = self._report(name, kind)
        if kind == "accepted":
            assert outcome == "applied"
        elif kind == "cancel_rejected":
            assert outcome == ("applied" if order.status == "pending_cancel" else "duplicate")
            if order.status == "pending_cancel":
                order.status, order.is_expiring = ("partially_filled" if order.cum else "routed"), False
        elif order.status in ENDED:
            assert outcome == "duplicate"
        elif kind == "rejected" and order.cum:
            assert outcome == "quarantined"
        else:
            assert outcome == "applied"
            self.model.end(order, kind)
        self.met[f"reported: {kind}"] += 1
