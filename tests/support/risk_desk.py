"""A customer of a cell's database and a clock that only the test moves, for the tests of the risk checks."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.support.stopped_clock import SET_TIME, SentTime

DOLLAR = 1_000_000
NOON = datetime(2026, 11, 20, 17, tzinfo=UTC)
_PLACE = """
select outcome, resource_id, replayed, figures
  from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, %s, %s::bigint[], %s::bigint[], %s,
                                 interval '1 hour', %s, %s::bigint[])
 order by ordinal
"""
_REPLACE = """
select outcome, resource_id, replayed, figures
  from replace_orders_v1(%s, %s, %s, %s, %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[],
                                   %s::text[], %s, false)
"""
Reply = tuple[str, uuid.UUID | None, bool, dict[str, Any] | None]


class RiskDesk:
    """One connection of the service role; `user` is who the commands are of."""

    def __init__(self, dsn: str, *, user: uuid.UUID | None = None) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.now = NOON
        self._sent_time = SentTime()
        self.user = user or uuid.uuid4()
        self._numbers = itertools.count(1)

    def call(self, query: str, *parameters: object) -> list[Any]:
        if news := self._sent_time.news(self.now):
            self.connection.execute(SET_TIME, [news])
        cursor = self.connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []

    def open(self, profile: str = "retail", *, cash: int = 10_000_000 * DOLLAR) -> "RiskDesk":
        """A new customer with money."""
        self.user = uuid.uuid4()
        self.call(
            "select 1 from open_account_v1(%s, 1, %s, %s, null, 'x')",
            self.user,
            profile,
            self.user.hex,
        )
        deposit = "select 1 from deposit_cash_v1(%s, %s, %s, %s::bigint[])"
        self.call(deposit, *self._named(), [cash])
        return self

    def shares(self, qty: int, symbol: str = "AAPL") -> None:
        transfer = "select 1 from transfer_shares_v1(%s, %s, %s, %s, %s::bigint[], array[1], true)"
        self.call(transfer, *self._named(), [symbol], [qty])

    def price(self, px: int, symbol: str = "AAPL") -> None:
        self.call("select set_reference_prices_v1(%s, %s::bigint[], clock_timestamp())", [symbol], [px])

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def place(
        self, qty: int = DOLLAR, px: int | None = 100 * DOLLAR, *, side: str = "buy", symbol: str = "AAPL",
        stop: int | None = None, key: str | None = None, mark: bytes = b"f", wait: bool = False,
    ) -> Reply:  # fmt: skip
        kind = {(False, False): "market", (True, False): "limit", (False, True): "stop", (True, True): "stop_limit"}
        row = self.call(
            _PLACE, [self.user], [key or self._key()], [mark], [None], [symbol], [side],
            [kind[px is not None, stop is not None]], ["day"], [qty], [px], self.now, wait, [stop],
        )[0]  # fmt: skip
        return (row[0], row[1], row[2], row[3])

    def outcome(self, *terms: Any, **more: Any) -> str:
        return self.place(*terms, **more)[0]

    def replace(
        self, order_id: uuid.UUID | None, *, qty: int | None = None, px: int | None = None, stop: int | None = None,
        key: str | None = None,
    ) -> Reply:  # fmt: skip
        row = self.call(
            _REPLACE, [self.user], [key or self._key()], [b"f"], [order_id], [None], [qty], [px],
            [stop], [None], self.now,
        )[0]  # fmt: skip
        return (row[0], row[1], row[2], row[3])

    def cancel(self, order_id: uuid.UUID | None) -> None:
        cancel = "select outcome from cancel_orders_v1(%s, %s, %s, %s)"
        assert self.call(cancel, [self.user], [self._key()], [b"f"], [order_id]) == [("cancelled",)]

    def fill(self, order_id: uuid.UUID | None, qty: int, px: int) -> None:
        """The venue fills some of it."""
        self.report(order_id, kind="fill", exec_id=self._key(), last_qty=qty, last_px=px)

    def report(self, order_id: uuid.UUID | None, **reported: object) -> None:
        """The venue has the order, and says this of it."""
        while self.call("select 1 from claim_instructions_v1(64)"):
            pass
        body = Jsonb({"trade_date": "2026-11-20", **reported})
        [(seq,)] = self.call(
            "select coalesce(max(received_seq), 0) + 1 from brokerage.venue_sessions where session = %s", self.user.hex
        )
        accept = "select inbox_id from accept_reports_v1('v', %s, %s::bigint[], %s::uuid[], %s::jsonb[], now())"
        [(inbox_id,)] = self.call(accept, self.user.hex, [seq], [order_id], [body])
        apply = "select outcome from apply_reports_v1(%s::bigint[], '2026-11-23')"
        assert self.call(apply, [inbox_id]) == [("applied",)]

    def _key(self) -> str:
        return f"k{next(self._numbers):05}-{uuid.uuid4().hex[:6]}"

    def _named(self) -> tuple[list[uuid.UUID], list[str], list[bytes]]:
        return [self.user], [self._key()], [b"f"]
