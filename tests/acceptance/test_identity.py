"""Sign-up, login and refresh through the front door of a running stack, by people who do not play by the rules."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from tests.support.stack import Stack

pytestmark = pytest.mark.anyio

HOME, ELSEWHERE = "127.0.0.1", "127.0.0.2"
PASSWORD = "correct horse"


class Door:
    """The router, asked from two addresses of this machine."""

    def __init__(self, url: str, sessions: dict[str, aiohttp.ClientSession]) -> None:
        self._url = url
        self._sessions = sessions

    async def ask(self, path: str, body: Any, *, key: str = "", source: str = HOME) -> tuple[int, Any, Any]:
        headers = {"X-Idempotency-Key": key} if key else {}
        async with self._sessions[source].post(self._url + path, json=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.text()), answer.headers

    async def sign_up(self, email: str, password: str = PASSWORD, key: str = "me-1") -> tuple[int, Any, Any]:
        return await self.ask("/v1/users", {"email": email, "password": password}, key=key)

    async def log_in(self, email: str, password: str, source: str = HOME) -> tuple[int, Any, Any]:
        body = {"grant_type": "password", "email": email, "password": password}
        return await self.ask("/v1/tokens", body, source=source)


@pytest.fixture
async def door(stack: Stack) -> AsyncIterator[Door]:
    async with AsyncExitStack() as open_sessions:
        sessions = {
            source: await open_sessions.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, local_addr=(source, 0)))
            )
            for source in (HOME, ELSEWHERE)
        }
        yield Door(stack.env()["ROUTER_URL"], sessions)


def new_email() -> str:
    return f"{uuid.uuid4().hex}@example.com"


async def test_one_sign_up_takes_one_password_and_a_strangers_key_is_another(door: Door) -> None:
    for _ in range(4):
        email = new_email()
        answers = await asyncio.gather(*(door.sign_up(email, f"password {n}") for n in range(2)))
        taken = [n for n, (status, _, _) in enumerate(answers) if status == 201]
        assert len(taken) == 1
        assert answers[1 - taken[0]][1]["code"] == "IDEMPOTENCY_KEY_REUSED"
        assert (await door.log_in(email, f"password {taken[0]}"))[0] == 200


async def test_refreshes_at_once_get_one_answer(door: Door) -> None:
    _, opened, _ = await door.sign_up(new_email())
    body = {"grant_type": "refresh_token", "refresh_token": opened["refresh_token"]}
    answers = await asyncio.gather(*(door.ask("/v1/tokens", body) for _ in range(8)))
    assert {status for status, _, _ in answers} == {200}
    assert len({json.dumps(said) for _, said, _ in answers}) == 1
    following = {"grant_type": "refresh_token", "refresh_token": answers[0][1]["refresh_token"]}
    assert (await door.ask("/v1/tokens", following))[0] == 200


async def test_guesses_are_made_to_wait_and_nobody_else_is(door: Door) -> None:
    owner, neighbour = new_email(), new_email()
    for email in (owner, neighbour):
        assert (await door.sign_up(email))[0] == 201
    guesses = [asyncio.create_task(door.log_in(owner, f"guess {n}", ELSEWHERE)) for n in range(150)]
    assert (await door.log_in(neighbour, PASSWORD))[0] == 200
    answers = await asyncio.gather(*guesses)
    assert {status for status, _, _ in answers} <= {401, 429, 503}  # a busy machine may have no time for some
    assert all("Retry-After" in headers for status, _, headers in answers if status != 401)
    for email in (owner, new_email()):  # nobody has the other one
        for _ in range(12):
            await door.log_in(email, "one more guess", ELSEWHERE)
        status, said, headers = await door.log_in(email, PASSWORD, ELSEWHERE)
        assert (status, said["code"]) == (429, "RATE_LIMITED")
        assert int(headers["Retry-After"]) > 1
    assert (await door.log_in(owner, PASSWORD))[0] == 200
