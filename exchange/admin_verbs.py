"""What operators may ask of the exchange: tapes, faults, and where it stands.

What they change is durable before they are answered.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from exchange.book import Book
from exchange.errors import InvalidField, TapeConflict
from exchange.faults import Faults
from exchange.live_order import rfc3339
from exchange.log import DurableLog
from exchange.log_rows import TapeRow, TradedOrder
from exchange.prices import PriceBoard
from exchange.tape import Tape, parse_tape

_SYMBOL: Final = re.compile(r"[A-Z][A-Z0-9.]{0,9}")
_RUN: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class AdminVerbs:
    """The operator port's verbs of one market."""

    def __init__(
        self,
        book: Book,
        log: DurableLog,
        prices: PriceBoard,
        *,
        now_us: Callable[[], int],
        committed: Callable[[], Awaitable[None]],
        publish_prices: Callable[[], None],
        is_connected: Callable[[str], bool],
    ) -> None:
        self._book = book
        self._log = log
        self._prices = prices
        self._now_us = now_us
        self._committed = committed
        self._publish_prices = publish_prices
        self._is_connected = is_connected

    async def load_tape(
        self, content: bytes, *, symbol: str, run: str, waits_for_replace: bool = False
    ) -> tuple[Tape, bool]:
        """Play a tape from now on; the second value says whether it was new. Durable when this returns.

        With `waits_for_replace` a partial cancellation is a replacement that somebody must ask for: what follows it on
        the tape waits. A tape that is here without it gets it as long as none of its orders has come.
        Raises InvalidField or TapeConflict.
        """
        if not _SYMBOL.fullmatch(symbol):
            raise InvalidField("symbol", f"{symbol!r} is not a symbol")
        if not _RUN.fullmatch(run):
            raise InvalidField("run", "1 to 40 letters, digits, dots, dashes or underscores")
        tape = await asyncio.to_thread(parse_tape, content, symbol=symbol, run=run, waits_for_replace=waits_for_replace)
        known = self._book.tapes.runs.get(symbol, {}).get(run)
        if known is not None:
            if known.digest != tape.digest:
                raise TapeConflict(f"run {run} of {symbol} was loaded before with other content")
            if known.waits_for_replace or not waits_for_replace:
                await self._committed()
                return known, False
            if self._book.tapes.taken_count(symbol, run):
                raise TapeConflict(f"run {run} of {symbol} is being played without waiting for replacements")
        now_us = self._now_us()
        row = TapeRow(symbol, run, tape.digest, content, rfc3339(now_us), waits_for_replace)
        self._book.add_tape(tape, row, now_us)
        await self._committed()
        self._publish_prices()
        return tape, known is None

    async def set_faults(self, faults: Faults) -> None:
        """From now on these faults are on; durable when this returns."""
        self._book.set_faults(faults.checked(), msgspec.json.encode(faults).decode(), self._now_us())
        await self._committed()

    async def report_unknown_fill(self) -> list[str]:
        """Send every session a fill that belongs to no order."""
        sessions = self._book.reports.add_unknown_fill(self._prices.symbols[0], self._now_us())
        await self._committed()
        return sessions

    @property
    def faults(self) -> Faults:
        """The faults that are on."""
        return self._book.faults

    def tapes(self) -> list[dict[str, object]]:
        """Loaded tapes, with what was read and how many of their orders have come."""
        return [
            {
                "symbol": tape.symbol,
                "run": tape.run,
                "digest": tape.digest,
                "rows": tape.rows,
                "waits_for_replace": tape.waits_for_replace,
                "orders": len(tape.orders),
                "orders_taken": self._book.tapes.taken_count(tape.symbol, tape.run),
                "fills": sum(len(order.fills) for order in tape.orders.values()),
                "first_price_micros": tape.first_px,
                "counts": dict(tape.counts),
            }
            for runs in self._book.tapes.runs.values()
            for tape in runs.values()
        ]

    def summary(self) -> dict[str, object]:
        """Where the exchange stands."""
        now_us = self._now_us()
        sessions = {
            session: {
                "connected": self._is_connected(session),
                "last_seq": last_seq,
                "acked_seq": acked_seq,
            }
            for session, (last_seq, acked_seq) in sorted(self._book.reports.numbers().items())
        }
        return {
            "log_id": self._log.log_id,
            "orders_by_status": self._book.orders.by_status(),
            "live_orders": len(self._book.orders),
            "since_start": self._book.counts,
            "sessions": sessions,
            "prices": self._prices.snapshot(now_us),
            "tapes": len(self.tapes()),
            "faults": msgspec.to_builtins(self._book.faults),
            "as_of": rfc3339(now_us),
        }

    def traded_orders(self, *, after: str, limit: int) -> list[TradedOrder]:
        """The next orders by id; what is on disk, so nothing that a cell could know is missing."""
        return self._log.traded_orders(after, limit)

    def named_orders(self, cl_ord_ids: Sequence[str]) -> list[TradedOrder]:
        """Those of these orders that ever came."""
        return self._log.named_orders(cl_ord_ids)
