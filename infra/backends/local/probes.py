"""Ask a server whether it can do its work: the smallest question of each protocol, without a client library.

A listening port is too early for all of them: PostgreSQL listens while it recovers, and so do the others.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable

PROBE_TIMEOUT_S = 2.0
"""Of one probe: on this machine an answer takes milliseconds, and a process that starts has none yet."""
_ANSWER_BYTES_MAX = 65_536
"""Of a health document, which has a hundredth of it."""

Probe = Callable[[], Awaitable[bool]]


async def _ask(port: int, question: bytes, answer_bytes: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(question)
        await writer.drain()
        return await reader.read(answer_bytes)
    finally:
        writer.close()


async def _answered(port: int, question: bytes, answer_bytes: int) -> bytes | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await _ask(port, question, answer_bytes)
    except (OSError, TimeoutError):
        return None


async def postgres_answers(port: int) -> bool:
    """It asks for a password: it accepts connections. While it starts or recovers it answers with an error instead."""
    parameters = b"user\x00postgres\x00database\x00postgres\x00application_name\x00probe\x00\x00"
    packet = struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters  # its length, and protocol 3.0
    return await _answered(port, packet, 1) == b"R"


async def redis_answers(port: int) -> bool:
    return await _answered(port, b"*1\r\n$4\r\nPING\r\n", 7) == b"+PONG\r\n"


async def http_ready(port: int, path: str = "/health/ready") -> bool:
    answer = await http_get(port, path)
    return answer is not None and answer[0] == 200


async def http_get(port: int, path: str) -> tuple[int, str] | None:
    """Status and body of a small answer, or None if nobody answers in time."""
    question = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(question)
                await writer.drain()
                answer = await reader.read(_ANSWER_BYTES_MAX)
                while answer and (more := await reader.read(_ANSWER_BYTES_MAX)) and len(answer) < _ANSWER_BYTES_MAX:
                    answer += more
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), body.decode(errors="replace")
    except (IndexError, ValueError):
        return None
