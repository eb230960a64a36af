"""A venue without a will of its own: it takes orders, acknowledges them, and fills them all when asked.

It speaks the frames of `exchange/` (a 4-byte length, then JSON) and promises nothing else: no log, no resume. For
measuring a cell's worker without what a real exchange costs. Reports are numbered; the worker's own acknowledgement
says how far it has committed them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

LENGTH_BYTES: Final = 4
"""Before each frame, as in the exchange's protocol."""
PRICES_S: Final = 0.5
"""Between two price messages, as the exchange sends them."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class StubVenue:
    """One session with one worker."""

    def __init__(self, prices: dict[str, int]) -> None:
        self.orders: list[dict[str, Any]] = []
        self.acknowledged_seq = 0
        self.sent_seq = 0
        self._prices = prices
        self._writer: asyncio.StreamWriter | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port it listens on."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        telling = asyncio.create_task(self._tell_prices())
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            telling.cancel()
            server.close()
            if self._writer is not None:
                self._writer.close()
                with suppress(ConnectionError):
                    await self._writer.wait_closed()

    async def fill_all(self, px_micros: int) -> int:
        """One whole fill of every order, in the order in which they came; waits where the worker makes it wait."""
        for start in range(0, len(self.orders), 256):
            self._send(*(self._fill(order, px_micros) for order in self.orders[start : start + 256]))
            assert self._writer is not None
            await self._writer.drain()
        return len(self.orders)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        while True:
            try:
                head = await reader.readexactly(LENGTH_BYTES)
                message = _decode(await reader.readexactly(int.from_bytes(head, "big")))
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            match message["t"]:
                case "hello":
                    self._send({"t": "welcome", "session_id": "s", "log_id": "l", "prices": self._prices})
                case "ack":
                    self.acknowledged_seq = max(self.acknowledged_seq, message["seq"])
                case "submit":
                    self.orders.append(message)
                    self._send(self._report(message, "accepted", {}))

    async def _tell_prices(self) -> None:
        while True:
            await asyncio.sleep(PRICES_S)
            if self._writer is not None:
                self._send({"t": "prices", "prices": self._prices})

    def _fill(self, order: dict[str, Any], px_micros: int) -> dict[str, Any]:
        qty = order["order_qty"]
        trade = {"exec_id": f"E{self.sent_seq + 1}", "trade_date": f"{datetime.now(UTC):%Y-%m-%d}"}
        return self._report(
            order, "fill", trade | {"last_qty": qty, "last_px": px_micros, "leaves_qty": 0, "cum_qty": qty}
        )

    def _report(self, order: dict[str, Any], kind: str, more: dict[str, Any]) -> dict[str, Any]:
        self.sent_seq += 1
        cl_ord_id = order["cl_ord_id"]
        said = {"t": "report", "seq": self.sent_seq, "kind": kind, "cl_ord_id": cl_ord_id}
        return said | {"venue_order_id": f"V-{cl_ord_id}", "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"} | more

    def _send(self, *messages: dict[str, Any]) -> None:
        assert self._writer is not None
        bodies = [_encode(message) for message in messages]
        self._writer.write(b"".join(len(body).to_bytes(LENGTH_BYTES, "big") + body for body in bodies))
