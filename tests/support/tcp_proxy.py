"""A TCP proxy on a free loopback port: whoever uses it says how the two ways of a connection are passed on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

READ_BYTES = 65_536


@dataclass(frozen=True)
class Conversation:
    """One connection: the client's two ends, and the server's."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    up_reader: asyncio.StreamReader
    up_writer: asyncio.StreamWriter


Ways = Callable[[Conversation], tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]]


@asynccontextmanager
async def tcp_proxy(host: str, port: int, ways: Ways) -> AsyncIterator[int]:
    """Its port, while the block runs. When one way of a connection ends, so does the other, and it is closed."""
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        both = {writer, up_writer}
        open_writers.update(both)
        tasks = [asyncio.create_task(way) for way in ways(Conversation(reader, writer, up_reader, up_writer))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for end in both:
                end.close()
            open_writers.difference_update(both)
            await asyncio.gather(*tasks, return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(open_writers):
            writer.close()
        await server.wait_closed()
