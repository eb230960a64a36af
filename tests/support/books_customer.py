"""What a customer does: money, orders of every kind, cancels, replacements, repeats; and an operator for them."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
)

from tests.support.books_machine import SYMBOL, BooksMachine, cents, near_prices, quantities, times_in_force
from tests.support.ledger_model import POSITION_MAX, UNSEEN, ModelOrder, collar, floor
from tests.support.stopped_clock import SET_TIME


class CustomerRules(BooksMachine):
    @initialize(is_rich=st.booleans(), is_retail=st.integers(0, 3).map(bool))
    def begin(self, is_rich: bool, is_retail: bool) -> None:
        """Half of the customers can afford everything; the others live at the edge. A quarter are professionals."""
        if not is_retail:
            self._call("select set_profile_v1(%s, 'professional', 'o', 'r')", self.user)
            self.model.is_retail = False
        if is_rich:
            self.deposit(3_000_000_000)
            self.transfer(20_000_000, 99_999_999)

    @rule(amount=st.one_of(st.integers(1, 300_000_000), st.just(1)))
    def deposit(self, amount: int) -> None:
        self._send("deposit", (amount,), "accepted")
        self.model.deposit(amount)

    @rule(qty=quantities, unit_cost=st.integers(0, 150_000_000))
    def transfer(self, qty: int, unit_cost: int) -> None:
        self._send("transfer", (qty, unit_cost), "accepted")
        self.model.take_shares(SYMBOL, qty, unit_cost)

    @rule(
        side=st.sampled_from(["buy", "sell"]),
        qty=quantities,
        limit_px=st.one_of(st.none(), cents),
        time_in_force=times_in_force,
        at_once=st.booleans(),
    )
    def place(self, side: str, qty: int, limit_px: int | None, time_in_force: str, at_once: bool) -> None:
        order = ModelOrder(SYMBOL, side, qty, limit_px or collar(self.last_px), has_limit=limit_px is not None)
        expected = self._enter(order, time_in_force)
        self.met[expected] += 1
        key = self._send(
            "place", (side, "limit" if limit_px else "market", qty, time_in_force, None, limit_px), expected
        )
        if expected == "accepted":
            self.met[f"accepted as {order.status}"] += 1
            self._accept(key, order)
            if at_once:
                self.route()

    @rule(
        side=st.sampled_from(["buy", "sell"]),
        qty=quantities,
        stop_px=st.one_of(near_prices, cents),
        limit_px=st.one_of(st.none(), near_prices),
        time_in_force=times_in_force,
    )
    def place_stop(self, side: str, qty: int, stop_px: int, limit_px: int | None, time_in_force: str) -> None:
        order = ModelOrder(
            SYMBOL, side, qty, limit_px or collar(max(stop_px, self.last_px)), stop_px, has_limit=limit_px is not None
        )
        expected = self._enter(order, time_in_force)
        self.met[f"stop: {expected}, {order.status}"] += 1
        kind = "stop_limit" if limit_px else "stop"
        key = self._send("place", (side, kind, qty, time_in_force, stop_px, limit_px), expected)
        if expected == "accepted":
            self._accept(key, order)

    @rule(
        side=st.sampled_from(["buy", "sell"]),
        amount=st.one_of(st.integers(1_000_000, 400_000_000), st.sampled_from([1_000_000, 5_000_000])),
        limit_px=st.one_of(st.none(), near_prices),
        time_in_force=times_in_force,
        at_once=st.booleans(),
    )
    def place_amount(self, side: str, amount: int, limit_px: int | None, time_in_force: str, at_once: bool) -> None:
        hold_px = limit_px or (collar(self.last_px) if side == "buy" else floor(self.last_px))
        order = ModelOrder(SYMBOL, side, 0, hold_px, has_limit=limit_px is not None, amount=amount)
        expected = self._enter(order, time_in_force)
        self.met[f"{side} by amount: {expected}"] += 1
        kind = "limit" if limit_px else "market"
        key = self._send("place", (side, kind, None, time_in_force, None, limit_px, amount), expected)
        if expected == "accepted":
            self._accept(key, order)
            if at_once:
                self.route()

    @rule(count=st.integers(8, 12), px=near_prices)
    def a_burst_of_orders(self, count: int, px: int) -> None:
        """As fast as a machine sends them: what the window has no room for is refused, and only that."""
        self.deposit(count * 2 * px)
        for _ in range(count):
            self.place("buy", 1, px, "gtc", False)

    @precondition(lambda self: self.model.is_retail and not self.model.restricted)
    @rule(px=near_prices, is_beyond=st.booleans())
    def a_position_up_to_the_limit(self, px: int, is_beyond: bool) -> None:
        """A buy that fills what the limit leaves, to the micro, and one that is a micro-share more."""
        self._a_minute_passes()
        self.deposit(POSITION_MAX + 2 * px)
        held = sum(order.held for order in self.model.orders.values() if order.side == "buy")
        worth = -(-self.model.position(SYMBOL).qty * self.last_px // 1_000_000)
        qty = (POSITION_MAX - worth - held) * 1_000_000 // px
        if qty > 0:
            self.place("buy", qty + is_beyond, px, "gtc", False)

    @precondition(lambda self: self.model.cash > 0)
    @rule(px=st.one_of(near_prices, cents))
    def place_for_the_last_micro(self, px: int) -> None:
        """A buy that the cash just covers, and one a micro-share larger that it does not."""
        qty = self.model.cash * 1_000_000 // px
        if not 0 < qty < 10**15 or self.model.restricted:
            return
        self._a_minute_passes()
        self.place_amount("buy", self.model.cash + 1_000_000, None, "gtc", False)
        larger = qty + -(-1_000_000 // px) + 1
        expected = self._enter(ModelOrder(SYMBOL, "buy", larger, px), "gtc")
        assert expected in ("INSUFFICIENT_BUYING_POWER", "PRICE_OUT_OF_BAND")
        self.met[expected] += 1
        self._send("place", ("buy", "limit", larger, "gtc", None, px), expected)
        order = ModelOrder(SYMBOL, "buy", qty, px)
        expected = self._enter(order, "gtc")
        assert expected in ("accepted", "PRICE_OUT_OF_BAND", "POSITION_LIMIT")
        key = self._send("place", ("buy", "limit", qty, "gtc", None, px), expected)
        if expected == "accepted":
            self._accept(key, order)
            self.met["the last micro"] += 1

    @precondition(lambda self: self.commands)
    @rule(data=st.data(), mutate=st.booleans())
    def replay(self, data: st.DataObject, mutate: bool) -> None:
        key, (verb, content) = data.draw(st.sampled_from(self.commands))
        if mutate:
            if verb == "cancel":
                return
            content = (*content[:-1], 777_777_777) if verb != "deposit" else (777_777_777,)
            if self.model.keys[key][0] == (verb, content):
                return
            assert self._command(verb, key, content) == "IDEMPOTENCY_KEY_REUSED"
            self.met["mutated replay"] += 1
        else:
            assert self._command(verb, key, content) == self.model.keys[key][1]
            self.met["replay"] += 1

    @precondition(lambda self: self.model.orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.orders)))
        order = self.model.orders[name]
        expected = self.model.cancel(order)
        self.met[f"cancel: {expected}"] += 1
        self._send("cancel", (name,), expected)

    @precondition(lambda self: self.model.orders)
    @rule(
        data=st.data(),
        is_fresh=st.integers(0, 9).map(bool),
        change=st.sampled_from([(-1, 1), (-1, 0), (1, 1), (1, 0), (2, 1), (0, 1)]),
        limit_px=st.one_of(st.none(), cents, near_prices),
        new_name=st.sampled_from([None, "mine", "yours"]),
    )
    def replace(
        self, data: st.DataObject, is_fresh: bool, change: tuple[int, int], limit_px: int | None, new_name: str | None
    ) -> None:
        """Larger, smaller and equal quantities, at higher and lower prices, in every state."""
        live = sorted(n for n, o in self.model.orders.items() if o.status in UNSEEN | {"routed", "partially_filled"})
        name = data.draw(st.sampled_from(live or sorted(self.model.orders)))
        order = self.model.orders[name]
        factor, part = change
        qty = {-1: order.cum + max(1, order.leaves // 2) * part, 1: order.qty + part, 2: order.qty * 2}.get(factor)
        qty = qty if qty is None or qty > 0 else None
        if limit_px is not None and not order.has_limit and data.draw(st.booleans()):
            limit_px = None
        self._change(name, qty, limit_px, is_fresh=is_fresh, new_name=new_name)

    @precondition(lambda self: self.model.is_retail and not self.model.restricted)
    @rule(px=near_prices, is_routed=st.booleans())
    def replacements_meet_the_limits(self, px: int, is_routed: bool) -> None:
        """One to a position beyond the limit, and then as many as the second allows, and one more."""
        self._a_minute_passes()
        self.deposit(2 * POSITION_MAX)
        self.place("buy", 1_000_000, px, "gtc", is_routed)
        name = self.commands[-1][0]
        if name not in self.model.orders:
            return
        self._change(name, POSITION_MAX * 1_000_000 // px + 1, None)
        if is_routed:
            return  # a second one would have to wait for the venue
        outcome = "accepted"
        while outcome == "accepted":
            name, outcome = self._change(name, self.model.orders[name].qty + 1, None)

    @rule(pays=st.booleans())
    def lift_the_restriction(self, pays: bool) -> None:
        """An operator looks, sometimes after the customer made good what they owe."""
        if pays and self.model.cash < 0:
            self.deposit(-self.model.cash)
        short = self.model.free(SYMBOL)
        if pays and short < 0:
            self.transfer(-short, 0)
        expected = self.model.lift()
        [(outcome, _)] = self._call("select outcome, figures from lift_restriction_v1(%s, 'o', 'r')", self.user)
        assert outcome == expected
        self.met[f"lift: {expected}"] += 1

    @rule(whole=st.booleans())
    def archive(self, whole: bool) -> None:
        """What has ended goes to the archive, at any moment, all of it or a piece; nobody may notice."""
        self.owner.execute("delete from brokerage.outbox")  # as if Kafka had them
        self.connection.execute(SET_TIME, [(datetime.now(UTC) + timedelta(days=9)).isoformat()])  # all is old enough
        after: int | None = 0
        while after is not None:
            archive = "select state, last_seq, entries from archive_history_v1(%s, now() + interval '1 day', %s, %s)"
            values = (self.user, after, 1_000 if whole else 3)
            [(state, after, entries)] = self.connection.execute(archive, values).fetchall()
            assert state == "archived"
            self.met["entries archived"] += entries
            if not whole:
                break
        self.connection.execute(SET_TIME, [self.at.isoformat()])
