"""A TCP proxy that does to a conversation what a bad network does: cut it, delay it, alter it, swallow it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.tcp_proxy import READ_BYTES, Conversation, tcp_proxy

Mode = Literal["pass", "cut", "delay", "corrupt", "swallow"]


@dataclass
class ManglingProxy:
    port: int = 0
    mode: Mode = "pass"
    delay_s: float = 0.3
    mangled: int = 0

    def ways(self, of: Conversation) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        return (
            self._pass(of.reader, of.up_writer, mangles=False),
            self._pass(of.up_reader, of.writer, mangles=True),
        )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, mangles: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                if mangles and self.mode != "pass":
                    self.mangled += 1
                    if self.mode == "cut":
                        writer.write(data[: len(data) // 2])
                        return
                    if self.mode == "swallow":
                        continue
                    if self.mode == "delay":
                        await asyncio.sleep(self.delay_s)
                    if self.mode == "corrupt":
                        data = bytes(byte ^ 0x20 if at % 37 == 20 else byte for at, byte in enumerate(data))
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def mangling_proxy(target_port: int) -> AsyncIterator[ManglingProxy]:
    proxy = ManglingProxy()
    async with tcp_proxy("127.0.0.1", target_port, proxy.ways) as proxy.port:
        yield proxy
