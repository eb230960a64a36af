"""`python -m loadtests.benchmarks.noisy_customer PORT KIND TOKEN ORDER`: one customer who floods a cell, in a process
of their own, until it is ended. Each line on standard output is one round: what was answered, and how often.

`previews` and `orders`: as many at once as the router's rate allows a customer who had been silent, again and again in
the rhythm in which that comes back. `slow`: large answers that are asked for and not read.
"""

import asyncio
import contextlib
import json
import sys
import uuid
from collections import Counter
from typing import Final

from loadtests.measurement.raw_http import ConnectionBroken, answer_end

AT_ONCE: Final = 500
"""The burst that a router allows by default."""
ROUND_S: Final = 5.0
"""The router's token bucket is full again after this."""
SLOW_CONNECTIONS: Final = 256
"""That ask for a page and read it slowly: more than one customer's share of anything."""
KINDS: Final = ("previews", "orders", "slow")


def order_request(token: str, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer {token}\r\n"
        f"X-Idempotency-Key: {uuid.uuid4()}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def one_answer(port: int, request: bytes) -> int:
    """The status; 0: the connection ended."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        held = b""
        while data := await reader.read(65_536):
            held += data
            if answer_end(held) is not None:
                return int(held[9:12])
    except (OSError, ConnectionBroken):
        return 0
    finally:
        if writer is not None:
            writer.close()
    return 0


async def burst(port: int, kind: str, token: str, body: bytes, count: int = AT_ONCE) -> Counter[int]:
    path = "/v1/orders/preview" if kind == "previews" else "/v1/orders"
    return Counter(await asyncio.gather(*(one_answer(port, order_request(token, path, body)) for _ in range(count))))


async def read_slowly(port: int, token: str) -> None:
    """Ask, take what the socket takes by itself, and ask anew when one has been cut off."""
    request = f"GET /v1/ledger?limit=500 HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(request)
            await asyncio.sleep(ROUND_S)
            writer.transport.abort()


async def flood(port: int, kind: str, token: str, body: bytes) -> None:
    if kind == "slow":
        print(json.dumps({"reading": SLOW_CONNECTIONS}), flush=True)
        await asyncio.gather(*(read_slowly(port, token) for _ in range(SLOW_CONNECTIONS)))
        return
    loop = asyncio.get_running_loop()
    while True:
        ends_at_s = loop.time() + ROUND_S
        print(json.dumps(await burst(port, kind, token, body)), flush=True)
        await asyncio.sleep(max(0.0, ends_at_s - loop.time()))


if __name__ == "__main__":
    asyncio.run(flood(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].encode()))
