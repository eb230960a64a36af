"""The customer insists with the same key, waits as told, and never swallows an answer they did not expect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtests.client import Answer, Customer, RetryLimits, RouterClient, Unanswered, UnexpectedAnswer

pytestmark = pytest.mark.anyio

LIMITS = RetryLimits(attempts=4, total_s=5.0, request_s=0.3, first_pause_s=0.001, longest_pause_s=0.002)
SIGNED_UP = {"user_id": "00000000-0000-4000-8000-000000000001", "access_token": "one", "refresh_token": "r"}
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def router_that(answers: Answering) -> AsyncIterator[RouterClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers)
    async with TestServer(app) as server, RouterClient(str(server.make_url("")), limits=LIMITS) as router:
        yield router


def scripted(script: list[web.Response], seen: list[web.Request]) -> Answering:
    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        said = script[min(len(seen), len(script)) - 1]
        return web.Response(body=said.body, status=said.status, headers=said.headers)

    return answer


def unavailable(code: str = "CELL_UNAVAILABLE", retry_after: str = "0") -> web.Response:
    return web.json_response({"code": code}, status=503, headers={"Retry-After": retry_after})


async def test_503_and_429_are_sent_again_with_the_same_key() -> None:
    seen: list[web.Request] = []
    limited = web.json_response({"code": "RATE_LIMITED"}, status=429, headers={"Retry-After": "0"})
    script = [unavailable(), limited, web.json_response({"deposit_id": "d"}, status=201, headers={"X-Cell": "cell-2"})]
    async with router_that(scripted(script, seen)) as router:
        answer = await router.call("POST", "/v1/deposits", body={"amount": "5"}, key="k1", token="t")
    assert (answer.status, answer.attempts, answer.cell) == (201, 3, "cell-2")
    assert [request.headers["X-Idempotency-Key"] for request in seen] == ["k1", "k1", "k1"]
    assert router.tally.retried == {"CELL_UNAVAILABLE": 1, "RATE_LIMITED": 1}


async def test_retry_after_is_honoured() -> None:
    seen: list[web.Request] = []
    script = [unavailable(retry_after="1"), web.json_response({}, status=200)]
    async with router_that(scripted(script, seen)) as router:
        began = asyncio.get_running_loop().time()
        await router.call("GET", "/v1/account")
        assert asyncio.get_running_loop().time() - began >= 1.0


async def test_a_retry_that_would_outlast_the_limit_is_not_waited_for() -> None:
    seen: list[web.Request] = []
    async with router_that(scripted([unavailable(retry_after="60")], seen)) as router:
        answer = await router.call("GET", "/v1/account")
    assert (answer.status, len(seen)) == (503, 1)


async def test_attempts_are_bounded() -> None:
    seen: list[web.Request] = []
    async with router_that(scripted([unavailable()], seen)) as router:
        with pytest.raises(UnexpectedAnswer, match="503 CELL_UNAVAILABLE"):
            await router.expect({200}, "GET", "/v1/account")
    assert len(seen) == LIMITS.attempts


async def test_a_lost_answer_is_asked_for_again_only_with_a_key() -> None:
    calls = 0

    async def hang_up(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with router_that(hang_up) as router:
        with pytest.raises(Unanswered, match="outcome unknown"):
            await router.call("POST", "/v1/orders", body={}, key="k")
        assert calls == LIMITS.attempts
        with pytest.raises(Unanswered, match="after 1 attempts"):
            await router.call("POST", "/v1/tokens", body={})


async def test_an_unexpected_answer_says_everything() -> None:
    seen: list[web.Request] = []
    problem = web.json_response(
        {"code": "INSUFFICIENT_SHARES", "detail": "5 wanted, 3 owned"},
        status=422,
        headers={"X-Cell": "cell-1", "X-Request-Id": "r-7"},
        content_type="application/problem+json",
    )
    async with router_that(scripted([web.json_response(SIGNED_UP, status=201), problem], seen)) as router:
        customer = await router.sign_up("a@customers.example", "secret")
        with pytest.raises(UnexpectedAnswer) as error:
            await customer.place({"symbol": "AAPL"})
    words = str(error.value)
    assert words == "POST /v1/orders: 422 INSUFFICIENT_SHARES from cell cell-1: 5 wanted, 3 owned (request r-7)"


async def test_an_expired_token_is_renewed_once_and_the_call_repeated_with_its_key() -> None:
    seen: list[web.Request] = []
    script = [
        web.json_response({"code": "TOKEN_EXPIRED"}, status=401),
        web.json_response({**SIGNED_UP, "access_token": "two"}, status=200),
        web.json_response({"order_id": "o"}, status=201),
    ]
    async with router_that(scripted(script, seen)) as router:
        customer = await _signed_in(router)
        answer = await customer.place({"symbol": "AAPL"}, key="k")
    assert answer.status == 201
    assert [request.path for request in seen] == ["/v1/orders", "/v1/tokens", "/v1/orders"]
    assert seen[2].headers["Authorization"] == "Bearer two"
    assert seen[2].headers["X-Idempotency-Key"] == seen[0].headers["X-Idempotency-Key"] == "k"


async def test_lists_are_read_to_the_last_page() -> None:
    seen: list[web.Request] = []
    script = [
        web.json_response({"items": [{"n": 1}, {"n": 2}], "next_page_token": "p2"}),
        web.json_response({"items": [{"n": 3}], "next_page_token": None}),
    ]
    async with router_that(scripted(script, seen)) as router:
        items = await (await _signed_in(router)).items("/v1/orders")
    assert [item["n"] for item in items] == [1, 2, 3]
    assert seen[1].query["page_token"] == "p2"


async def test_a_cancel_that_came_too_late_is_an_answer() -> None:
    seen: list[web.Request] = []
    script = [web.json_response({"code": "ORDER_NOT_OPEN"}, status=409), web.json_response({"code": "X"}, status=409)]
    async with router_that(scripted(script, seen)) as router:
        customer = await _signed_in(router)
        assert (await customer.cancel("o")).status == 409
        with pytest.raises(UnexpectedAnswer):
            await customer.cancel("o")


async def _signed_in(router: RouterClient) -> Customer:
    answer = Answer(201, SIGNED_UP, "cell-1", None, False, None, 0.0, 1)
    return Customer(router, "a@customers.example", "secret", answer)
