"""A cell that is its database and nothing else: the write procedures, called as the app servers call them."""

import uuid
from typing import Any

import psycopg

PLACE = """
select outcome, resource_id, replayed, figures
  from place_orders_v1(%s, %s, %s, %s::text[], %s, %s, %s, %s, %s::bigint[], %s::bigint[], now(),
                                 interval '1 hour', %s)
 order by ordinal
"""
ANY_PRICE = "select set_price_bands_v1(array['AAPL'], array[1::bigint], array[1000000000000])"


class Cell:
    """One connection of the service role."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)

    def call(self, query: str, *parameters: object) -> list[Any]:
        cursor = self.connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []

    def user(self, cash: int = 0) -> uuid.UUID:
        user_id = uuid.uuid4()
        opening = "select 1 from open_account_v1(%s, 7, 'professional', %s, null, 'x')"
        self.call(opening, user_id, str(user_id))
        if cash:
            self.deposit([user_id], cash)
        return user_id

    def deposit(self, users: list[uuid.UUID], amount: int) -> list[str]:
        n = len(users)
        rows = self.call(
            "select outcome from deposit_cash_v1(%s, %s, %s, %s::bigint[]) order by ordinal",
            users, [uuid.uuid4().hex for _ in users], [b"f"] * n, [amount] * n,
        )  # fmt: skip
        return [row[0] for row in rows]

    def place(
        self,
        users: list[uuid.UUID],
        *,
        side: str = "buy",
        symbol: str = "AAPL",
        qty: int = 1_000_000,
        px: int | None = 100_000_000,
        key: str | None = None,
        wait: bool = False,
    ) -> list[Any]:
        n = len(users)
        return self.call(
            PLACE,
            users, [key or uuid.uuid4().hex for _ in users], [b"f"] * n, [None] * n,
            [symbol] * n, [side] * n, ["limit" if px else "market"] * n, ["day"] * n, [qty] * n, [px] * n, wait,
        )  # fmt: skip

    def replace(self, user_id: uuid.UUID, order_id: uuid.UUID, *, qty: int | None = None, px: int | None = None) -> Any:
        return self.call(
            "select outcome, resource_id, replayed, figures from replace_orders_v1(%s, %s, %s, %s, "
            "%s::integer[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], now(), false)",
            [user_id], [uuid.uuid4().hex], [b"f"], [order_id], [None], [qty], [px], [None], [None],
        )[0]  # fmt: skip

    def transfer(self, user_id: uuid.UUID, qty: int, unit_cost: int = 0) -> str:
        row = self.call(
            "select outcome from transfer_shares_v1(%s, %s, %s, %s, %s::bigint[], %s::bigint[], true)",
            [user_id], [uuid.uuid4().hex], [b"f"], ["AAPL"], [qty], [unit_cost],
        )[0]  # fmt: skip
        return str(row[0])

    def route(self) -> None:
        while self.call("select 1 from claim_instructions_v1(64)"):
            pass

    def tell(self, session: str, seq: int, order_id: uuid.UUID, body: str) -> list[Any]:
        """The venue reports; the report is applied."""
        accept = "select inbox_id from accept_reports_v1('v', %s, %s::bigint[], %s::uuid[], %s::jsonb[], now())"
        ids = [row[0] for row in self.call(accept, session, [seq], [order_id], [body])]
        return self.call("select outcome from apply_reports_v1(%s::bigint[], '2026-11-23')", ids)
