"""A customer with requests."""

import asyncio
import json
import sys

import requests

from tests.drills.clients.customer import Customer


async def main(base: str, name: str) -> None:
    with requests.Session() as session:

        async def carry(
            method: str, url: str, headers: dict[str, str], body: bytes | None
        ) -> tuple[int, dict[str, str], bytes]:
            answer = session.request(method, url, headers=headers, data=body, timeout=60)
            return answer.status_code, {key.lower(): value for key, value in answer.headers.items()}, answer.content

        print(json.dumps(await Customer(base, name, carry).trade()))


asyncio.run(main(*sys.argv[1:3]))
