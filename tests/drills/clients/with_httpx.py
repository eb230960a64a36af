"""A customer with httpx."""

import asyncio
import json
import sys

import httpx

from tests.drills.clients.customer import Customer


async def main(base: str, name: str) -> None:
    async with httpx.AsyncClient(timeout=60) as client:

        async def carry(
            method: str, url: str, headers: dict[str, str], body: bytes | None
        ) -> tuple[int, dict[str, str], bytes]:
            answer = await client.request(method, url, headers=headers, content=body)
            return answer.status_code, dict(answer.headers), answer.content

        print(json.dumps(await Customer(base, name, carry).trade()))


asyncio.run(main(*sys.argv[1:3]))
