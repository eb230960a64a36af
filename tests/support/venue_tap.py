"""A wire tap between a cell's worker and the exchange: what the venue said, in its own order, whoever was killed.

The exchange forgets a report once the cell has acknowledged it; the tap does not. It reads the frames by itself and
passes the bytes on as they are.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class VenueTap:
    target_port: int
    port: int = 0
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By their number in the session; a report that was sent twice must be the same twice."""
    prices: dict[str, int] = field(default_factory=dict)
    lowest: dict[str, int] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, up_writer}
        ways = [
            asyncio.create_task(self._pass(reader, up_writer, listens=False)),
            asyncio.create_task(self._pass(up_reader, writer, listens=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, up_writer):
                end.close()
                self._writers.discard(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, listens: bool) -> None:
        held = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if listens:
                    held = self._listen(held + data)
                writer.write(data)
                await writer.drain()

    def _listen(self, held: bytes) -> bytes:
        while len(held) >= 4 and len(held) >= (end := 4 + int.from_bytes(held[:4], "big")):
            self._hear(json.loads(held[4:end]))
            held = held[end:]
        return held

    def _hear(self, said: dict[str, Any]) -> None:
        if said["t"] == "report":
            assert self.reports.setdefault(said["seq"], said) == said, "one number, two reports"
        for symbol, px in said.get("prices", {}).items():
            self.prices[symbol] = px
            self.lowest[symbol] = min(px, self.lowest.get(symbol, px))
            self.highest[symbol] = max(px, self.highest.get(symbol, px))


@asynccontextmanager
async def venue_tap(target_port: int) -> AsyncIterator[VenueTap]:
    tap = VenueTap(target_port)
    server = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        for writer in list(tap._writers):
            writer.close()
        await server.wait_closed()
