"""The router between raw clients and scripted cells: what crosses, what does not, and what each fault becomes.

The router here has no control database, no Redis and no Kafka: only its map file. So every test also shows that known
users need none of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.settings import UpstreamSettings
from tests.support.eventually import eventually
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import ask, exchange, read_answer, request_bytes
from tests.support.routers import RouterUnderTest, map_of, running_router
from tests.support.stub_cell import SeenRequest, answer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[RouterUnderTest]:
    async with running_router(tmp_path) as running:
        yield running


async def test_a_request_reaches_the_owner_under_a_route_token(router: RouterUnderTest) -> None:
    for cell_id in ("cell-1", "cell-2"):
        user_id = router.user_of(cell_id)
        got = await router.ask("GET", "/v1/orders?limit=5&x=%20y", token=router.token_of(user_id))
        assert got.status == 200
        assert got.json() == {"cell": cell_id, "target": "/v1/orders?limit=5&x=%20y"}
        assert got.headers["x-cell"] == cell_id
        claims = router.cells[cell_id].claims(router.cells[cell_id].seen[-1], int(time.time()))
        assert (claims.user_id, claims.epoch) == (user_id, 1)
        assert claims.expires_at_s - time.time() <= 300


async def test_body_and_ordinary_headers_cross_unchanged(router: RouterUnderTest) -> None:
    body = b'{"symbol": "AAPL", "qty": "1.5"}'
    headers = {"If-Match": '"7"', "Accept": "application/json", "X-Request-Id": "my-id.1", "Connection": "keep-alive"}
    await router.ask("POST", "/v1/orders", token=router.token(), key="k-1", body=body, headers=headers)
    seen = router.cells["cell-1"].seen[-1]
    assert seen.body == body
    assert seen.header("if-match") == '"7"'
    assert seen.header("x-idempotency-key") == "k-1"
    assert seen.header("content-type") == "application/json"
    assert seen.header("x-request-id") == "my-id.1"


async def test_what_only_we_may_say_is_dropped(router: RouterUnderTest) -> None:
    spoofed = {
        "X-Route-Token": "forged", "X_Route_Token": "forged", "X-Forwarded-For": "10.0.0.1", "Forwarded": "for=me",
        "X-Cell": "cell-2", "Idempotency-Replayed": "true", "X-Deadline-Ms": "999999", "X-Internal-User": "root",
        "Proxy-Authorization": "x", "TE": "trailers", "Connection": "keep-alive, X-Secret", "X-Secret": "1",
        "X-Request-Id": "bad id\x01"[:6] + "!" * 200, "Traceparent": "nonsense",
    }  # fmt: skip
    await router.ask("GET", "/v1/account", token=router.token(), headers=spoofed)
    seen = router.cells["cell-1"].seen[-1]
    names = [name.lower() for name, __ in seen.headers]
    assert names.count("x-route-token") == 1
    assert seen.header("x-route-token") != "forged"
    for name in (
        "x_route_token", "x-forwarded-for", "forwarded", "x-cell", "idempotency-replayed", "x-internal-user",
        "proxy-authorization", "te", "x-secret", "authorization", "connection",
    ):  # fmt: skip
        assert name not in names
    assert 0 < int(seen.header("x-deadline-ms") or 0) <= 8000
    assert len(seen.header("x-request-id") or "") == 32
    assert (seen.header("traceparent") or "").startswith("00-")


async def test_trace_and_request_id_are_kept_or_made(router: RouterUnderTest) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await router.ask("GET", "/v1/account", token=router.token(), headers={"traceparent": trace})
    assert router.cells["cell-1"].seen[-1].header("traceparent") == trace
    refused = await router.ask("GET", "/v1/account", headers={"X-Request-Id": "mine"})
    assert refused.headers["x-request-id"] == refused.json()["request_id"] == "mine"


async def test_no_token_no_cell(router: RouterUnderTest) -> None:
    for headers in ({}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x.y.z"}):
        got = await router.ask("GET", "/v1/account", headers=headers)
        assert (got.status, got.code) == (401, "TOKEN_INVALID")
        assert got.headers["content-type"] == "application/problem+json"
    expired = router.token_of(router.user_of("cell-1"), ttl_s=-1)
    got = await router.ask("GET", "/v1/account", token=expired)
    assert (got.status, got.code) == (401, "TOKEN_EXPIRED")
    assert router.cells["cell-1"].seen == []


async def test_a_token_is_remembered_once_however_it_is_set_off(router: RouterUnderTest) -> None:
    token, routes = router.token(), router.router.routes
    for blanks in range(1, 9):
        headers = {"Authorization": f"Bearer{' ' * blanks}{token}"}
        assert (await router.ask("GET", "/v1/account", headers=headers)).status == 200
    assert len(routes._routes) == 1


async def test_a_token_that_expires_between_two_requests_is_refused(router: RouterUnderTest) -> None:
    token = router.token_of(router.user_of("cell-1"), ttl_s=1)
    assert (await router.ask("GET", "/v1/account", token=token)).status == 200
    await asyncio.sleep(1.1)  # the token's second
    assert (await router.ask("GET", "/v1/account", token=token)).code == "TOKEN_EXPIRED"


async def test_private_paths_of_a_cell_are_not_reachable(router: RouterUnderTest) -> None:
    token = router.token()
    for target in (
        "/v1/../internal/v1/sessions", "/v1/%2e%2e/internal/v1/sessions", "/v1/..%2finternal/v1/sessions", "/v1//x",
        "/v1/%252e%252e/internal", "/v1/a\\..\\b", "/v1/./x", "/v1/x/..",
        "/internal/v1/sessions", "/operator/v1/summary",
    ):  # fmt: skip
        got = await router.ask("POST", target, token=token, key="k", body=b"{}")
        assert got.status in (400, 404), target
    assert router.cells["cell-1"].seen == []


async def test_a_dead_cell_answers_quickly_and_alone(router: RouterUnderTest) -> None:
    token = router.token("cell-1")
    assert (await router.ask("GET", "/v1/account", token=token)).status == 200
    await router.cells["cell-1"].die()
    for method in ("GET", "POST"):
        began = time.monotonic()
        got = await router.ask(method, "/v1/orders", token=token, key="k", body=b"{}")
        assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")
        assert got.headers["retry-after"] == "1"
        assert time.monotonic() - began < 4  # long before the deadline of eight seconds
    assert (await router.ask("GET", "/v1/account", token=router.token("cell-2"))).status == 200
    for _ in range(UpstreamSettings().breaker_failures):
        await router.ask("GET", "/v1/account", token=token)
    assert_moved(router.router.metrics.render(), "router_breakers_open", "router_breaker_trips_total")


async def test_a_cell_that_comes_back_is_used_again(router: RouterUnderTest) -> None:
    cell, token = router.cells["cell-1"], router.token("cell-1")
    await cell.die()
    for _ in range(10):
        assert (await router.ask("GET", "/v1/account", token=token)).status == 503
    await cell.start(cell.port)
    await asyncio.sleep(1.1)  # the breaker is open for a second
    assert (await router.ask("GET", "/v1/account", token=token)).status == 200


async def test_a_hanging_cell_is_given_up_at_the_deadline_and_costs_nobody_else(tmp_path: Path) -> None:
    async with running_router(tmp_path, upstream=UpstreamSettings(deadline_s=2.0, breaker_failures=3)) as router:

        async def hang(_: SeenRequest, __: asyncio.StreamWriter) -> None:
            await asyncio.sleep(30)

        router.cells["cell-1"].behave = hang
        sick, well = router.token("cell-1"), router.token("cell-2")
        read = asyncio.create_task(router.ask("GET", "/v1/account", token=sick))
        writes = [
            asyncio.create_task(router.ask("POST", "/v1/orders", token=sick, key=f"k{i}", body=b"{}")) for i in range(3)
        ]
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            assert (await router.ask("GET", "/v1/account", token=well)).status == 200
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1.5  # nobody waits for somebody else's deadline
        assert (await read).code == "CELL_UNAVAILABLE"
        for write in writes:
            got = await write
            assert (got.status, got.code) == (503, "OUTCOME_UNKNOWN")
        assert len(router.cells["cell-1"].seen) == 4  # nothing is sent twice when time is up
        began = time.monotonic()
        assert (await router.ask("GET", "/v1/account", token=sick)).code == "CELL_UNAVAILABLE"
        assert time.monotonic() - began < 1.5  # the breaker knows by now


async def test_a_server_that_hangs_and_leaves_the_map_is_given_up_at_the_deadline_too(tmp_path: Path) -> None:
    async with running_router(tmp_path, upstream=UpstreamSettings(deadline_s=0.6)) as router:
        asked = asyncio.Event()

        async def hang(_: SeenRequest, __: asyncio.StreamWriter) -> None:
            asked.set()
            await asyncio.sleep(30)

        sick, well = router.cells["cell-1"], router.cells["cell-2"]
        sick.behave = hang
        read = asyncio.create_task(router.ask("GET", "/v1/account", token=router.token("cell-1")))
        async with asyncio.timeout(10):
            await asked.wait()
            router.router.watcher._offer(map_of({"cell-1": (well.url,), "cell-2": (well.url,)}, epoch=2), "redis")
            assert (await read).code == "CELL_UNAVAILABLE"
        assert router.router.fleet.cell(router.shard_map.cells[0].cell_id).bulkhead.in_flight == 0


@pytest.mark.parametrize("fault", ["reset", "half", "garbage", "half-head"])
async def test_a_broken_answer_is_asked_for_once_more_with_the_same_key_and_body(
    router: RouterUnderTest, fault: str
) -> None:
    cell = router.cells["cell-1"]
    answers = {
        "reset": b"", "half": b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{",
        "garbage": b"\x00\x01 nonsense\r\n\r\n",
        "half-head": b"HTTP/1.1 201 Cre",
    }  # fmt: skip

    async def break_once(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[fault])
        await writer.drain()
        writer.close()
        cell.behave = cell.succeed

    cell.behave = break_once
    got = await router.ask("POST", "/v1/orders", token=router.token(), key="k-9", body=b'{"a":1}')
    assert got.status == 200
    assert [(s.header("x-idempotency-key"), s.body) for s in cell.seen] == [("k-9", b'{"a":1}')] * 2
    assert_moved(router.router.metrics.render(), "router_connections_broken_total", "router_requests_resent_total")


async def test_what_breaks_twice_is_unknown_for_a_write_and_not_done_for_a_read(
    router: RouterUnderTest,
) -> None:
    cell = router.cells["cell-1"]

    async def always_break(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.close()

    cell.behave = always_break
    got = await router.ask("POST", "/v1/orders", token=router.token(), key="k", body=b"{}")
    assert (got.status, got.code) == (503, "OUTCOME_UNKNOWN")
    assert got.headers["retry-after"] == "1"
    assert len(cell.seen) == 2
    got = await router.ask("GET", "/v1/orders", token=router.token())
    assert (got.status, got.code) == (503, "CELL_UNAVAILABLE")


@pytest.mark.parametrize("headers", [{}, {"X-Idempotency-Key": "k", "Connection": "close, x-idempotency-key"}])
async def test_a_write_without_a_key_is_never_sent_twice(router: RouterUnderTest, headers: dict[str, str]) -> None:
    """A key that stays on the client's connection, because it says so, reaches no cell."""
    cell = router.cells["cell-1"]

    async def always_break(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.close()

    cell.behave = always_break
    got = await router.ask("POST", "/v1/orders", token=router.token(), headers=headers, body=b"{}")
    assert got.code == "OUTCOME_UNKNOWN"
    assert [seen.header("x-idempotency-key") for seen in cell.seen] == [None]


async def test_a_connection_that_went_stale_is_replaced_unnoticed(router: RouterUnderTest) -> None:
    token, cell = router.token(), router.cells["cell-1"]
    assert (await router.ask("GET", "/v1/account", token=token)).status == 200
    cell.close_idle_connections()
    assert (await router.ask("POST", "/v1/orders", token=token, key="k", body=b"{}")).status == 200


async def test_connections_to_a_cell_are_reused(router: RouterUnderTest) -> None:
    token = router.token()
    for _ in range(20):
        assert (await router.ask("GET", "/v1/account", token=token)).status == 200
    assert router.cells["cell-1"].connections == 1


async def test_pipelined_requests_are_answered_in_order(router: RouterUnderTest) -> None:
    cell, token = router.cells["cell-1"], router.token()

    async def slow_first(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2 if request.target.endswith("/1") else 0)
        writer.write(answer(200, {"target": request.target}))

    cell.behave = slow_first
    headers = {"Authorization": f"Bearer {token}", "X-Idempotency-Key": "k"}
    raw = b"".join(request_bytes("POST", f"/v1/{i}", headers, b"{}") for i in (1, 2, 3))
    raw += request_bytes("GET", "/nothing") + request_bytes("GET", "/v1/4", headers)
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(raw)
    async with asyncio.timeout(5):
        answers = [await read_answer(reader) for _ in range(5)]
    writer.close()
    assert [a.json().get("target") for a in answers] == ["/v1/1", "/v1/2", "/v1/3", None, "/v1/4"]
    assert answers[3].status == 404


async def test_a_large_answer_streams_to_a_slow_reader(router: RouterUnderTest) -> None:
    chunk = b"x" * 65_536

    async def stream(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(200):
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    router.cells["cell-1"].behave = stream
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**17)
    writer.write(request_bytes("GET", "/v1/ledger", {"Authorization": f"Bearer {router.token()}"}))

    async def is_held_back() -> bool:
        return b'router_slow_answers{cell="cell-1"} 1.0' in router.router.metrics.render()

    await eventually(is_held_back)  # nobody reads: the answer waits in the cell, and is not buffered here
    assert_moved(router.router.metrics.render(), "router_slow_answers", "router_client_connections")
    async with asyncio.timeout(10):
        got = await read_answer(reader)
    assert got.body == chunk * 200
    writer.write(request_bytes("GET", "/v1/account"))
    assert (await read_answer(reader)).status == 401  # the connection goes on
    writer.close()


async def test_a_stream_that_breaks_is_visibly_cut(router: RouterUnderTest) -> None:
    async def cut(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 1000)
        await writer.drain()
        writer.close()

    router.cells["cell-1"].behave = cut
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await router.ask("GET", "/v1/ledger", token=router.token())


async def test_an_answer_without_content_has_no_length(router: RouterUnderTest) -> None:
    async def empty(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")

    router.cells["cell-1"].behave = empty
    got = await router.ask("DELETE", "/v1/orders/1", token=router.token(), key="k")
    assert got.status == 204
    assert "content-length" not in got.headers


async def test_requests_in_flight_finish_when_the_router_ends(tmp_path: Path) -> None:
    async with running_router(tmp_path) as router:

        async def slow(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.5)
            writer.write(answer(200, {"slow": True}))

        router.cells["cell-1"].behave = slow
        request = asyncio.create_task(router.ask("GET", "/v1/account", token=router.token()))

        async def is_asked() -> bool:
            return bool(router.cells["cell-1"].seen)

        await eventually(is_asked)
    assert (await request).json() == {"slow": True}


async def test_many_clients_at_once(tmp_path: Path) -> None:
    """Clients, router and cells are one process here: on a busy machine each of them may wait long for the others."""
    patient = UpstreamSettings(deadline_s=60.0, queue_wait_s=60.0, share_wait_s=60.0, connect_timeout_s=60.0)
    async with running_router(tmp_path, upstream=patient) as router:
        tokens = [router.token(cell) for cell in ("cell-1", "cell-2") for _ in range(5)]
        answers = await asyncio.gather(
            *(ask(router.port, "POST", f"/v1/{i}", token=tokens[i % 10], key=f"k{i}", body=b"{}") for i in range(300))
        )
    assert {a.status for a in answers} == {200}
    assert [a.json()["target"] for a in answers] == [f"/v1/{i}" for i in range(300)]


async def test_a_full_cell_sheds_requests_instead_of_hoarding_them(tmp_path: Path) -> None:
    limits = UpstreamSettings(in_flight_max=2, queue_max=2, queue_wait_s=0.3, deadline_s=3.0)
    async with running_router(tmp_path, upstream=limits) as router:

        async def slow(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.6)
            writer.write(answer(200, {}))

        router.cells["cell-1"].behave = slow
        token = router.token("cell-1")
        tasks = [asyncio.create_task(router.ask("GET", f"/v1/{i}", token=token)) for i in range(8)]
        answers = await asyncio.gather(*tasks)
        assert sorted(a.status for a in answers) == [200] * 2 + [503] * 6
        assert {a.code for a in answers if a.status == 503} == {"OVERLOADED"}
        assert_moved(router.router.metrics.render(), "router_requests_shed_total")
        assert (await router.ask("GET", "/v1/x", token=token)).status == 200


async def test_metrics_and_readiness_are_on_the_operator_port(router: RouterUnderTest) -> None:
    await router.ask("GET", "/v1/account", token=router.token())
    metrics = (await ask(router.operator_port, "GET", "/metrics")).body.decode()
    assert 'router_requests_total{cell="cell-1",result="2xx"} 1.0' in metrics
    assert "router_map_epoch 1.0" in metrics
    ready = await ask(router.operator_port, "GET", "/health/ready")
    assert (ready.status, ready.json()["map_epoch"], ready.json()["map_source"]) == (200, 1, "file")
    assert (await exchange(router.port, request_bytes("GET", "/metrics"))).status == 404
