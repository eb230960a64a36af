"""What the venue takes back: busts and corrections, of each other, of paid debts, before what they take back, and after
what they make room for."""

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from tests.support.books_machine import SYMBOL, near_prices, quantities, venue_prices
from tests.support.books_venue import VenueRules
from tests.support.ledger_model import ENDED, POSITION_MAX, ModelOrder

REPORTED = ("fill", "other fill", "third fill", "revision", "revision of it")


class RevisionRules(VenueRules):
    @rule(
        side=st.sampled_from(["buy", "sell"]),
        qty=st.integers(10, 3_000_000),
        px=near_prices,
        whole=st.booleans(),
        kinds=st.lists(st.sampled_from(["bust", "correct"]), min_size=1, max_size=3),
    )
    def trades_are_revised(self, side: str, qty: int, px: int, whole: bool, kinds: list[str]) -> None:
        """Place, fill in part or whole, and let the venue revise the trade, then the revision, then that one."""
        if not self._can_trade():
            return
        self.deposit(qty * px // 1_000_000 + 1) if side == "buy" else self.transfer(qty, px)
        order = ModelOrder(SYMBOL, side, qty, px)
        expected = self._enter(order, "gtc")
        key = self._send("place", (side, "limit", qty, "gtc", None, px), expected)
        if expected != "accepted":  # too far from the last price, or too large a position
            return
        self._accept(key, order)
        self.route()
        self._trade(key, order, qty if whole else qty // 2)
        self._revise_again_and_again(key, order, kinds)

    @rule(
        qty=st.integers(10, 3_000_000),
        beyond=st.integers(-9, 2_000_000),
        px=near_prices,
        kinds=st.lists(st.sampled_from(["bust", "correct", "correct to fewer"]), min_size=1, max_size=3),
    )
    def a_paid_debt_is_revised(self, qty: int, beyond: int, px: int, kinds: list[str]) -> None:
        """Sold twice by a late fill, bought back by an order of before, and then the venue thinks again."""
        if not self._can_trade() or self.model.is_out_of_band(self.last_px, px):
            return
        self.transfer(qty, px)
        debt = self.model.free(SYMBOL)
        wanted = debt + max(beyond, 1 - debt)
        worth = wanted * px // 1_000_000 + 1
        if self.model.is_too_much_of(SYMBOL, self.last_px, worth) or 3 * worth > POSITION_MAX:
            return
        self.deposit(wanted * px // 1_000_000 + 1)
        first = self._sent("sell", debt, px)
        assert self._report(first, "cancelled") == "applied"
        self.model.end(self.model.orders[first], "cancelled")
        second, closing = self._sent("sell", debt, px), self._sent("buy", wanted, px)
        for name in (first, second, closing):
            self._trade(name, self.model.orders[name], self.model.orders[name].qty)
        order = self.model.orders[closing]
        self.met["a purchase paid owed shares"] += max(trade.owed for trade in order.trades.values()) > 0
        self._revise_again_and_again(closing, order, kinds)

    def _revise_again_and_again(self, key: str, order: ModelOrder, kinds: list[str]) -> None:
        ref = max(order.trades)
        for how in kinds:
            kind = "bust" if how == "bust" else "correct"
            status, exec_id = order.status, f"e{next(self.numbers):04}"
            reported: dict[str, object] = {"exec_id": exec_id, "exec_ref_id": ref}
            qty = order.cum * 2 // 3 if how == "correct to fewer" else order.cum
            correction = (qty or 1, order.hold_px + 330_000) if kind == "correct" else (0, 0)
            reported |= {"last_qty": correction[0], "last_px": correction[1]} if kind == "correct" else {}
            expected = self.model.revise(order, kind, exec_id, ref, *correction)
            assert self._report(key, kind, **reported) == expected
            assert self._report(key, kind, **reported) == self.model.revise(order, kind, exec_id, ref, *correction)
            self.met[f"{kind}: {expected}"] += 1
            self.met[f"{kind}: {status} -> {order.status}"] += 1
            again = {"exec_id": f"e{next(self.numbers):04}", "exec_ref_id": ref}
            expected = self.model.revise(order, "bust", again["exec_id"], ref)
            assert self._report(key, "bust", **again) == expected
            self.met[f"bust: {expected}"] += 1
            ref = exec_id if kind == "correct" and expected == "quarantined" else ref

    @rule(
        side=st.sampled_from(["buy", "sell"]),
        qty=st.integers(10, 3_000_000),
        px=near_prices,
        whole=st.booleans(),
        chain=st.lists(st.sampled_from(["bust", "correct", "twice", "skip"]), min_size=1, max_size=4),
        meanwhile=st.sampled_from(["nothing", "cancelled", "another fill"]),
    )
    def a_trade_is_revised_before_it_is_told(
        self, side: str, qty: int, px: int, whole: bool, chain: list[str], meanwhile: str
    ) -> None:
        """The fill comes last: after its bust, its correction, that one's bust, and copies of them."""
        if not self._can_trade() or self.model.is_out_of_band(self.last_px, px):
            return
        self.deposit(qty * px // 1_000_000 + 1) if side == "buy" else self.transfer(qty, px)
        order = ModelOrder(SYMBOL, side, qty, px)
        if self._enter(order, "gtc") != "accepted":
            return
        key = self._sent(side, qty, px)
        order = self.model.orders[key]
        fill_id = f"e{next(self.numbers):04}"
        self._revise_early(key, order, fill_id, chain)
        if meanwhile == "cancelled":
            assert self._report(key, "cancelled") == "applied"
            self.model.end(order, "cancelled")
        elif meanwhile == "another fill":
            self._trade(key, order, max(1, qty // 3))
        fill_qty = order.qty if whole else max(1, qty // 2)
        expected = self.model.fill(order, fill_id, fill_qty, px)
        assert self._report(key, "fill", exec_id=fill_id, last_qty=fill_qty, last_px=px) == expected
        self.met[f"the fill of an early report: {expected}"] += 1

    def _revise_early(self, key: str, order: ModelOrder, ref: str, chain: list[str]) -> None:
        """Newest first where the chain says `skip`: what names the execution comes before what is named."""
        for how in chain:
            exec_id = f"e{next(self.numbers):04}"
            kind = "correct" if how in ("correct", "skip") else "bust"
            reported: dict[str, object] = {"exec_id": exec_id, "exec_ref_id": ref}
            correction = (max(1, order.qty // 3), order.hold_px + 10_000) if kind == "correct" else (0, 0)
            reported |= {"last_qty": correction[0], "last_px": correction[1]} if kind == "correct" else {}
            for _ in range(1 + (how == "twice")):
                assert (
                    self._report(key, kind, **reported)
                    == self.model.revise(order, kind, exec_id, ref, *correction)
                    == "early"
                )
                self.met[f"early {kind}"] += 1
            ref = exec_id if how == "skip" else ref

    @precondition(lambda self: self._was_routed())
    @rule(data=st.data(), kind=st.sampled_from(["bust", "correct"]), qty=quantities, px=venue_prices)
    def revise_what_was_not_told_yet(self, data: st.DataObject, kind: str, qty: int, px: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.model_routed)))
        exec_id, ref = f"e{next(self.numbers):04}", f"e{next(self.numbers):04}"
        qty, px = (qty, px) if kind == "correct" else (0, 0)
        reported = {"exec_id": exec_id, "exec_ref_id": ref, "last_qty": qty or 1, "last_px": px or 1}
        expected = self.model.revise(self.model.orders[name], kind, exec_id, ref, qty, px)
        assert self._report(name, kind, **reported) == expected
        self.met[f"{kind} of what was not reported yet: {expected}"] += 1

    @precondition(lambda self: self._awaited())
    @rule(data=st.data(), qty=quantities, px=venue_prices, whole=st.booleans())
    def an_awaited_fill_comes(self, data: st.DataObject, qty: int, px: int, whole: bool) -> None:
        order, exec_id = data.draw(st.sampled_from(self._awaited()))
        name = next(name for name, known in self.model.orders.items() if known is order)
        qty = order.leaves if whole and order.leaves else qty
        expected = self.model.fill(order, exec_id, qty, px)
        assert self._report(name, "fill", exec_id=exec_id, last_qty=qty, last_px=px) == expected
        self.met[f"the fill of an early report: {expected}"] += 1

    def _awaited(self) -> list[tuple[ModelOrder, str]]:
        """Executions that early reports wait for."""
        return [(r.order, r.ref) for r in self.model.early if r.ref is not None and r.ref not in r.order.trades]

    @rule(
        side=st.sampled_from(["buy", "sell"]),
        qty=st.integers(10, 3_000_000),
        px=near_prices,
        by_amount=st.booleans(),
        kind=st.sampled_from(["bust", "correct", "correct upwards"]),
        last=st.sampled_from(["bust", "correct"]),
        reported=st.permutations(REPORTED),
        again=st.lists(st.sampled_from(REPORTED), max_size=2),
        cancelled=st.booleans(),
    )
    def fills_have_no_room_beside_each_other(
        self, side: str, qty: int, px: int, by_amount: bool, kind: str, last: str, reported: list[str],
        again: list[str], cancelled: bool,
    ) -> None:  # fmt: skip
        """Each two of three are more than the order, unless one is taken back or made smaller, and that, too; in any
        order, again."""
        if not self._can_trade() or self.model.is_out_of_band(self.last_px, px):
            return
        self.deposit(qty * px // 1_000_000 + 1) if side == "buy" else self.transfer(qty, px)
        order = ModelOrder(
            SYMBOL, side, 0 if by_amount else qty, px, amount=qty * px // 1_000_000 if by_amount else None
        )
        if (order.amount is not None and order.amount < 1_000_000) or self._enter(order, "gtc") != "accepted":
            return
        terms = (side, "limit", order.qty or None, "gtc", None, px, order.amount)
        key = self._send("place", terms, "accepted")
        self._accept(key, order)
        self.route()
        name, other, third, revision, second = (f"e{next(self.numbers):04}" for _ in range(5))
        waited: set[str] = set()
        some, rest = qty * 2 // 3, qty // 2 + 1
        corrected = {"bust": 0, "correct": qty // 3, "correct upwards": qty * 5 // 6}
        revisions = {"revision": (kind, revision, name), "revision of it": (last, second, revision)}
        for what in [*reported, *(["cancelled"] if cancelled else []), *again]:
            if what == "cancelled":
                self._ends(key, order)
            elif what in revisions:
                how, exec_id, ref = revisions[what]
                verb, size = how.split()[0], corrected[how]
                expected = self.model.revise(order, verb, exec_id, ref, size, px if size else 0)
                fields = {"last_qty": size, "last_px": px} if size else {}
                assert self._report(key, verb, exec_id=exec_id, exec_ref_id=ref, **fields) == expected
            else:
                exec_id, size = {"fill": (name, some), "other fill": (other, rest)}.get(what, (third, rest))
                expected = self.model.fill(order, exec_id, size, px)
                assert self._report(key, "fill", exec_id=exec_id, last_qty=size, last_px=px) == expected
                self.met[f"a fill of {'an amount' if by_amount else 'a quantity'} with others: {expected}"] += 1
                waited |= {exec_id} if expected == "early" else set()
        self.met["a fill beyond its order found room"] += not waited.isdisjoint(order.trades)
        self._ends(key, order)  # few orders stay live, so that other rules meet those that they look for

    def _ends(self, key: str, order: ModelOrder) -> None:
        was_open = order.status not in ENDED
        assert self._report(key, "cancelled") == ("applied" if was_open else "duplicate")
        if was_open:
            self.model.end(order, "cancelled")

    @precondition(lambda self: any(o.trades for o in self.model.orders.values()))
    @rule(
        data=st.data(),
        kind=st.sampled_from(["bust", "bust", "correct"]),
        keeps_qty=st.booleans(),
        qty=quantities,
        px=venue_prices,
    )
    def revise(self, data: st.DataObject, kind: str, keeps_qty: bool, qty: int, px: int) -> None:
        """The venue takes a trade back or corrects it: any trade of any order, also one that was taken back before."""
        name = data.draw(st.sampled_from(sorted(n for n, o in self.model.orders.items() if o.trades)))
        order = self.model.orders[name]
        ref = data.draw(st.sampled_from(sorted(order.trades)))
        qty, px = (0, 0) if kind == "bust" else (order.trades[ref].qty or 1 if keeps_qty else qty, px)
        reported: dict[str, object] = {"exec_id": f"e{next(self.numbers):04}", "exec_ref_id": ref}
        reported |= {} if kind == "bust" else {"last_qty": qty, "last_px": px}
        status, exec_id = order.status, str(reported["exec_id"])
        expected = self.model.revise(order, kind, exec_id, ref, qty, px)
        assert self._report(name, kind, **reported) == expected
        self.met[f"{kind}: {expected}"] += 1
        self.met[f"{kind}: {status} -> {order.status}"] += 1
        if expected == "applied":
            assert self.model.revise(order, kind, exec_id, ref, qty, px) == "duplicate"
            assert self._report(name, kind, **reported) == "duplicate"
            self.met["overdraft by a bust or correction"] += self.model.cash < 0
