"""A customer with aiohttp."""

import asyncio
import json
import sys

import aiohttp

from tests.drills.clients.customer import Customer


async def main(base: str, name: str) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:

        async def carry(
            method: str, url: str, headers: dict[str, str], body: bytes | None
        ) -> tuple[int, dict[str, str], bytes]:
            waits = headers.pop("Expect", "") != ""  # its own way to say so
            async with session.request(method, url, headers=headers, data=body, expect100=waits) as answer:
                content = await answer.read()
                return answer.status, {key.lower(): value for key, value in answer.headers.items()}, content

        print(json.dumps(await Customer(base, name, carry).trade()))


asyncio.run(main(*sys.argv[1:3]))
