"""A client of bare sockets: sends exactly the bytes a test says, and reads what comes."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["code"])


def request_bytes(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool = False) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1])
    if is_head or status < 200 or status in (204, 304):
        body = b""
    elif "chunked" in headers.get("transfer-encoding", ""):
        body = await _read_chunks(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Answer(status, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(chunks)


async def exchange(port: int, raw: bytes, *, is_head: bool = False) -> Answer:
    """One connection, one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        writer.write(raw)
        await writer.drain()
        async with asyncio.timeout(20):
            return await read_answer(reader, is_head=is_head)
    finally:
        writer.close()


async def ask(
    port: int,
    method: str,
    target: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    key: str | None = None,
) -> Answer:
    every = dict(headers or {})
    if token is not None:
        every["Authorization"] = f"Bearer {token}"
    if key is not None:
        every["X-Idempotency-Key"] = key
    if body is not None:
        every.setdefault("Content-Type", "application/json")
    return await exchange(port, request_bytes(method, target, every, body), is_head=method == "HEAD")
