"""A TCP proxy that does to a conversation what a bad network does: cut it, delay it, alter it, swallow it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["pass", "cut", "delay", "corrupt", "swallow"]


@dataclass
class ManglingProxy:
    target_port: int
    port: int = 0
    mode: Mode = "pass"
    delay_s: float = 0.3
    mangled: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, up_writer}
        ways = [
            asyncio.create_task(self._pass(reader, up_writer, mangles=False)),
            asyncio.create_task(self._pass(up_reader, writer, mangles=True)),
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

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, mangles: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
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
    proxy = ManglingProxy(target_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for writer in list(proxy._writers):
            writer.close()
        await server.wait_closed()
