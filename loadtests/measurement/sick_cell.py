"""Cells of a benchmark that only answer, one port each: well, or sick in one way. `python -m ... <port>=<health> ...`

Never part of the product; a cell's real sickness is made by the tests, which freeze and kill it.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

HEALTHS: Final = ("well", "hang", "slow", "reset", "garbage")
SLOW_S: Final = 2.0
"""Within the router's limit for an answer, and far beyond what anyone waits for gladly."""
_WELL: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n" + b'{"cash":"0.00"}'
_HALF: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{"


class AnsweringCell(asyncio.Protocol):
    def __init__(self, health: str) -> None:
        self._health = health
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """The router sends one small request at a time, in one piece."""
        match self._health:
            case "well":
                self._transport.write(_WELL)
            case "slow":
                asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, _WELL)
            case "reset":
                self._transport.write(_HALF)
                self._transport.abort()
            case "garbage":
                self._transport.write(b"\x16\x03\x01 nobody speaks like this\r\n\r\n")
            case "hang":
                pass


async def serve(ports: dict[int, str]) -> None:
    loop = asyncio.get_running_loop()
    for port, health in ports.items():
        await loop.create_server(lambda health=health: AnsweringCell(health), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.Event().wait()


if __name__ == "__main__":
    pairs = (argument.partition("=") for argument in sys.argv[1:])
    uvloop.run(serve({int(port): health for port, _, health in pairs}))
