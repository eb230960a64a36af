"""One customer's books beside their model: how writes are sent to both, and what must hold after each."""

import itertools
import time
import uuid
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from psycopg.types.json import Jsonb

from infra.runtime.sql_files import read_sql
from tests.support.ledger_model import UNSEEN, ModelAccount, ModelOrder
from tests.support.stopped_clock import SET_TIME, SentTime

SYMBOL = "AAPL"
REFERENCE = 100_000_000
CHECKS = read_sql("cell", "checks")
SET_BANDS = "select set_price_bands_v1(%s::text[], %s::bigint[], %s::bigint[])"
TELL_PRICE = "select set_reference_prices_v1(%s, %s, %s, %s)"
JUDGE = "select judge_stops_v1(1000, 'XNYS')"
TRIGGER = "select triggered, passed_over from trigger_reached_stops_v1(1000, %s, 'XNYS')"
SESSIONS = [
    (datetime(2026, 11, day, 14, 30, tzinfo=UTC), datetime(2026, 11, day, close, 0, tzinfo=UTC))
    for day, close in [(24, 21), (25, 21), (27, 18), (30, 21)]
]
"""Around a holiday and a half day. The last one never closes here, so there is always a next close."""

# Small quantities and odd prices: that is where rounding goes wrong.
quantities = st.one_of(st.integers(1, 3_000_000), st.sampled_from([1, 2, 333_333, 1_000_000, 5_000_000]))
cents = st.integers(100, 20_000).map(lambda n: n * 10_000)
times_in_force = st.sampled_from(["day", "day", "gtc", "ioc"])
near_prices = st.integers(95, 105).map(lambda n: n * 1_000_000)
venue_prices = st.integers(1_000_000, 200_000_000)


class BooksMachine(RuleBasedStateMachine):
    owner: psycopg.Connection[Any]
    connection: psycopg.Connection[Any]
    met: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.user = uuid.uuid4()
        self.model = ModelAccount()
        self.ids: dict[str, uuid.UUID] = {}
        self.venue_seq = 0
        self.session = self.user.hex
        self.last_px = REFERENCE
        self.at = SESSIONS[0][0] + timedelta(hours=2)
        """The market's time and the database's, moved by rules."""
        self._sent_time = SentTime()
        self.commands: list[tuple[str, tuple[Any, ...]]] = []
        self.overtaken: list[str] = []
        """What became of early reports when what they waited for came."""
        while self._call("select 1 from claim_instructions_v1(64)"):
            pass  # earlier examples' customers are not this one's
        self._tell(REFERENCE)
        self._call(SET_BANDS, [], [], [])
        self._call("select * from open_account_v1(%s, 1, 'retail', %s, null, 'x')", self.user, self.user.hex)

    def _call(self, query: str, *parameters: object) -> list[Any]:
        if news := self._sent_time.news(self.at):
            self.connection.execute(SET_TIME, [news])
        return self.connection.execute(query, parameters).fetchall()

    def _tell(self, px: int) -> None:
        """Its time is the market's; its number grows over all examples of this database."""
        self._call(TELL_PRICE, [SYMBOL], [px], self.at, [time.time_ns()])

    def _command(self, verb: str, key: str, content: tuple[Any, ...]) -> str:
        """Send a command; its fingerprint is its content."""
        mark = repr((verb, content)).encode()
        if verb == "deposit":
            rows = self._call(
                "select outcome from deposit_cash_v1(%s, %s, %s, %s::bigint[])",
                [self.user], [key], [mark], [content[0]],
            )  # fmt: skip
        elif verb == "transfer":
            rows = self._call(
                "select outcome from transfer_shares_v1(%s, %s, %s, %s, %s::bigint[], %s::bigint[], true)",
                [self.user], [key], [mark], [SYMBOL], [content[0]], [content[1]],
            )  # fmt: skip
        elif verb == "place":
            side, kind, qty, time_in_force, stop_px, limit_px, *rest = content
            amount = rest[0] if rest else None
            rows = self._call(
                "select outcome, resource_id from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, "
                "%s, %s::bigint[], %s::bigint[], %s, interval '100 years', false, %s::bigint[], 'XNYS', %s::bigint[])",
                [self.user], [key], [mark], [None], [SYMBOL], [side], [kind], [time_in_force], [qty],
                [limit_px], self.at, [stop_px], [amount],
            )  # fmt: skip
            if rows[0][0] == "accepted":
                self.ids[key] = rows[0][1]
        elif verb == "replace":
            name, is_fresh, limit_px, new_name, qty = content
            [(etag,)] = self._call("select event_seq from brokerage.orders where order_id = %s", self.ids[name])
            rows = self._call(
                "select outcome, resource_id from replace_orders_v1(%s, %s, %s, %s, %s::integer[], "
                "%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s, false, 'XNYS', %s::text[], "
                "interval '100 years')",
                [self.user], [key], [mark], [self.ids[name]], [etag if is_fresh else etag - 1],
                [qty], [limit_px], [None], [None], self.at, [new_name],
            )  # fmt: skip
            if rows[0][0] == "accepted":
                self.ids[key] = rows[0][1]
        else:
            rows = self._call(
                "select outcome from cancel_orders_v1(%s, %s, %s, %s)",
                [self.user], [key], [mark], [self.ids[content[0]]],
            )  # fmt: skip
        return str(rows[0][0])

    def _new_key(self) -> str:
        return f"k{next(self.numbers):04}"

    def _send(self, verb: str, content: tuple[Any, ...], expected: str) -> str:
        key = self._new_key()
        assert self._command(verb, key, content) == expected
        self.model.once(key, (verb, content), expected)
        self.commands.append((key, (verb, content)))
        return key

    def _is_open(self) -> bool:
        return any(opens_at <= self.at < closes_at for opens_at, closes_at in SESSIONS)

    def _a_minute_passes(self) -> None:
        """Whatever was placed before does not count any more."""
        self.at += timedelta(minutes=1)

    def _enter(self, order: ModelOrder, time_in_force: str) -> str:
        """What an order comes to, and as what it begins, by the hour."""
        if time_in_force != "gtc":
            order.expires_at = min(closes_at for _, closes_at in SESSIONS if closes_at > self.at)
        if order.stop_px is not None:
            reached = self._is_open() and self.model.is_reached(order, self.last_px)
            order.status = "funds_held" if reached else "armed"
        else:
            order.status = "funds_held" if self._is_open() else "queued"
        expected = self.model.judge(order, self.last_px, self.at)
        if expected != "ACCOUNT_RESTRICTED" and time_in_force in ("ioc", "fok") and not self._is_open():
            return "MARKET_CLOSED"
        return expected

    def _accept(self, key: str, order: ModelOrder) -> None:
        self.model.place(key, order)
        self.model.count(order, self.last_px, self.at)

    def _change(
        self, name: str, qty: int | None, limit_px: int | None, *, is_fresh: bool = True, new_name: str | None = None
    ) -> tuple[str, str]:
        """Replace an order; the name of the new one, and what came of it."""
        order = self.model.orders[name]
        expected = self.model.judge_replace(
            order, qty, limit_px, is_fresh=is_fresh, last_px=self.last_px, at=self.at, name=new_name
        )
        self.met[f"replace: {expected}"] += 1
        key = self._send("replace", (name, is_fresh, limit_px, new_name, qty), expected)
        if expected == "accepted":
            was_held = order.held
            self.met[f"replace of one that is {order.status}"] += 1
            self.model.replace(order, key, qty, limit_px, last_px=self.last_px, at=self.at, name=new_name)
            self.met["replace: the new one needs more"] += order.status == "pending_replace" and order.held > was_held
        return key, expected

    @precondition(lambda self: self.model.orders)
    @rule()
    def route(self) -> None:
        while rows := self._call("select action, order_id from claim_instructions_v1(64)"):
            for action, order_id in rows:
                ours = [o for name, o in self.model.orders.items() if self.ids[name] == order_id]
                if not ours:
                    continue  # a stop of an earlier example's customer
                (order,) = ours
                if action == "submit":
                    assert order.status == "funds_held"
                    order.status = "routed"

    def _routed(self) -> list[str]:
        return [name for name, order in sorted(self.model.orders.items()) if order.status not in UNSEEN]

    @property
    def model_routed(self) -> set[str]:
        """Orders that the venue has seen; one cancelled before it was routed never gets a report."""
        return {name for name in self._routed() if self.ids[name] in self._seen()}

    def _seen(self) -> set[uuid.UUID]:
        rows = self._call(
            "select order_id from all_order_events where user_id = %s and to_status = 'routed'", self.user
        )
        return {row[0] for row in rows}

    def _was_routed(self) -> bool:
        return bool(self.model_routed)

    def _report(self, name: str, kind: str, **fields: object) -> str:
        self.venue_seq += 1
        body = {"kind": kind, "trade_date": "2026-11-20", "at": datetime.now(UTC).isoformat(), **fields}
        [(inbox_id,)] = self._call(
            "select inbox_id from accept_reports_v1('exchange', %s, %s::bigint[], %s, %s::jsonb[], now())",
            self.session, [self.venue_seq], [self.ids[name]], [Jsonb(body)],
        )  # fmt: skip
        outcome, returned = self._apply(inbox_id)
        if outcome == "deferred":  # it showed a replacement to be live, which was applied first
            outcome, returned = self._apply(inbox_id)
        while returned:
            first = min(returned)
            early_outcome, more = self._apply(first)
            returned = returned - {first} | more
            self.overtaken.append(early_outcome)
            self.met[f"an early report: {early_outcome}"] += 1
        return outcome

    def _apply(self, inbox_id: int) -> tuple[str, set[int]]:
        """What became of a report, and which early ones it brought back to the inbox."""
        apply = "select inbox_id, outcome, reason from apply_reports_v1(%s::bigint[], %s)"
        rows = self._call(apply, [inbox_id], date(2026, 11, 23))
        [(outcome, reason)] = [row[1:] for row in rows if row[0] == inbox_id]
        if reason:
            self.met[f"quarantined: {reason}"] += 1
        return str(outcome), {row[0] for row in rows if row[1] == "returned"}

    @invariant()
    def account_equals_the_model(self) -> None:
        [row] = self._call(
            "select cash_micros, cash_held_micros, restricted from brokerage.users where user_id = %s", self.user
        )
        assert row == (self.model.cash, self.model.cash_held, self.model.restricted)

    @invariant()
    def early_reports_equal_the_model(self) -> None:
        rows = self._call(
            "select body ->> 'exec_id' from brokerage.early_reports where user_id = %s order by inbox_id", self.user
        )
        assert [row[0] for row in rows] == [early.exec_id for early in self.model.early]
        assert self.overtaken == self.model.overtaken

    @invariant()
    def positions_equal_the_model(self) -> None:
        rows = self._call(
            "select qty_micros, qty_held_micros, cost_basis_micros from brokerage.positions where user_id = %s",
            self.user,
        )
        position = self.model.position(SYMBOL)
        assert (rows or [(0, 0, 0)]) == [(position.qty, position.held, position.basis)]

    @invariant()
    def orders_equal_the_model(self) -> None:
        rows = self._call(
            "select order_id, status, order_qty_micros, cum_qty_micros, cum_cost_micros, "
            "held_cash_micros + held_shares_micros, notional_micros, client_order_id "
            "from brokerage.orders where user_id = %s",
            self.user,
        )
        expected = {
            self.ids[name]: (o.status, o.qty or None, o.cum, o.posted, o.held, o.amount, o.name)
            for name, o in self.model.orders.items()
        }
        assert {row[0]: row[1:] for row in rows} == expected

    def teardown(self) -> None:
        self.met.update(f"a {kind} superseded" for kind in self.model.superseded)
        with self.connection.transaction():
            self._call(
                "select set_config('enable_nestloop', 'off', true)"
            )  # whole tables, as the trial balance reads them
            for check in CHECKS:
                rows = self.connection.execute(check.text).fetchall()
                assert rows == [], check.name
