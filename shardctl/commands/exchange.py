"""`shardctl exchange tapes` and `summary`."""

import asyncio
from typing import Any

from shardctl.commands.options import AsJson
from shardctl.exchange_admin import open_exchange_admin
from shardctl.output import console, print_json, print_table
from shardctl.stack.current import open_stack


def tapes(as_json: AsJson = False) -> None:
    """The tapes that are loaded, and how many of their orders the exchange has received."""
    found = asyncio.run(_tapes())
    if as_json:
        print_json(found)
        return
    columns = ("symbol", "run", "rows>", "orders>", "received>", "executions>")
    print_table(
        columns,
        [
            (tape["symbol"], tape["run"], tape["rows"], tape["orders"], tape["orders_taken"], tape["fills"])
            for tape in found["items"]
        ],
    )


def summary(as_json: AsJson = False) -> None:
    """Orders by state, sessions of cells, prices."""
    found = asyncio.run(_summary())
    if as_json:
        print_json(found)
        return
    print_table(("orders", ">"), sorted(found["orders_by_status"].items()))
    console.print()
    rows = [
        (name, "yes" if session["connected"] else "no", session["last_seq"], session["acked_seq"])
        for name, session in found["sessions"].items()
    ]
    print_table(("session", "connected", "reports>", "acknowledged>"), rows)
    console.print()
    prices = [(symbol, f"{px_micros / 1_000_000:,.4f}") for symbol, px_micros in sorted(found["prices"].items())]
    print_table(("symbol", "last price>"), prices)


async def _tapes() -> dict[str, Any]:
    async with open_exchange_admin(open_stack()) as admin:
        return await admin.tapes()


async def _summary() -> dict[str, Any]:
    async with open_exchange_admin(open_stack()) as admin:
        return await admin.summary()
