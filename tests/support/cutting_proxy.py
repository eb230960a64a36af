"""A TCP proxy in front of a server that loses answers on demand: the request is done, the reply never comes.

That is the one fault that a client cannot tell from "nothing happened", so it is the one to test with.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class CuttingProxy:
    """Forwards both ways; while `replies_to_lose` is positive, a reply cuts its connection instead of passing."""

    target_host: str
    target_port: int
    port: int = 0
    replies_to_lose: int = 0
    armed_by: bytes = b""
    """Only connections that have sent these bytes since they were armed lose their reply."""
    lost: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(self.target_host, self.target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, up_writer}
        has_sent = asyncio.Event()

        async def requests() -> None:
            while data := await reader.read(65_536):
                if self.armed_by in data:
                    has_sent.set()
                up_writer.write(data)
                await up_writer.drain()

        async def replies() -> None:
            while data := await up_reader.read(65_536):
                if self.replies_to_lose > 0 and has_sent.is_set():
                    self.replies_to_lose -= 1
                    self.lost += 1
                    return
                has_sent.clear()
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(requests()), asyncio.create_task(replies())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for end in (writer, up_writer):
                end.close()
                self._writers.discard(end)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def cutting_proxy(host: str, port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy on a free loopback port while the block runs."""
    proxy = CuttingProxy(host, port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for writer in list(proxy._writers):
            writer.close()
        await server.wait_closed()
