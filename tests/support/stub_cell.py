"""A cell as the router's network sees it: a raw socket that a test scripts.

For the router's behaviour only; whatever is about money runs against real cells.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from infra.security.keys import KeyRing
from infra.security.route_token import RouteClaims, RouteTokenVerifier


@dataclass(frozen=True)
class SeenRequest:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


Behaviour = Callable[[SeenRequest, asyncio.StreamWriter], Awaitable[None]]


def chunked(data: bytes) -> bytes:
    """One chunk of an answer without a length."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def answer(status: int, body: Any, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} Scripted",
        "content-type: application/json",
        f"content-length: {len(content)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass
class StubCell:
    cell_id: str
    ring: KeyRing
    behave: Behaviour = field(init=False)
    seen: list[SeenRequest] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.behave = self.succeed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def claims(self, request: SeenRequest, now_s: int) -> RouteClaims:
        token = request.header("x-route-token")
        assert token is not None
        return RouteTokenVerifier(self.ring, cell_id=self.cell_id).verify(token, now_s)

    async def succeed(self, request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, {"cell": self.cell_id, "target": request.target}, f"x-cell: {self.cell_id}"))

    def refuse_with_421(self, owner: str | None, epoch: int) -> None:
        async def misdirected(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
            body = {"code": "MISDIRECTED", "status": 421, "detail": "not mine", "owner": owner, "epoch": epoch}
            writer.write(answer(421, body))

        self.behave = misdirected

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def die(self) -> None:
        """As a killed process: the listener and every connection end at once."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)

    def close_idle_connections(self) -> None:
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while (request := await _read_request(reader)) is not None:
                self.seen.append(request)
                await self.behave(request, writer)
                if writer.is_closing():
                    return
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> SeenRequest | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((int(value) for name, value in pairs if name.lower() == "content-length"), 0)
    return SeenRequest(method, target, pairs, await reader.readexactly(length))


@asynccontextmanager
async def stub_cell(cell_id: str, ring: KeyRing) -> AsyncIterator[StubCell]:
    cell = StubCell(cell_id, ring)
    await cell.start()
    try:
        yield cell
    finally:
        await cell.die()
