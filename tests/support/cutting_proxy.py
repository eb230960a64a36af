"""A TCP proxy in front of a server that loses answers on demand: the request is done, the reply never comes.

That is the one fault that a client cannot tell from "nothing happened", so it is the one to test with.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.tcp_proxy import READ_BYTES, Conversation, tcp_proxy


@dataclass
class CuttingProxy:
    """Forwards both ways; while `replies_to_lose` is positive, a reply cuts its connection instead of passing."""

    port: int = 0
    replies_to_lose: int = 0
    armed_by: bytes = b""
    """Only connections that have sent these bytes since they were armed lose their reply."""
    lost: int = 0

    def ways(self, of: Conversation) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        has_sent = asyncio.Event()
        return self._requests(of, has_sent), self._replies(of, has_sent)

    async def _requests(self, of: Conversation, has_sent: asyncio.Event) -> None:
        while data := await of.reader.read(READ_BYTES):
            if self.armed_by in data:
                has_sent.set()
            of.up_writer.write(data)
            await of.up_writer.drain()

    async def _replies(self, of: Conversation, has_sent: asyncio.Event) -> None:
        while data := await of.up_reader.read(READ_BYTES):
            if self.replies_to_lose > 0 and has_sent.is_set():
                self.replies_to_lose -= 1
                self.lost += 1
                return
            has_sent.clear()
            of.writer.write(data)
            await of.writer.drain()


@asynccontextmanager
async def cutting_proxy(host: str, port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy on a free loopback port while the block runs."""
    proxy = CuttingProxy()
    async with tcp_proxy(host, port, proxy.ways) as proxy.port:
        yield proxy
