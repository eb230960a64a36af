"""The router's pure parts: breaker, bulkhead, headers, targets, placement, the merged document."""

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.topology.cells import Cell, CellState
from infra.topology.identifiers import CellId
from infra.topology.shard_map import build_map
from router.breaker import Breaker
from router.bulkhead import Bulkhead
from router.documents import merge_documents
from router.errors import CellOverloaded
from router.headers import Ids, drop_named_by_connection, take_header, write_request
from router.kinds import Kind
from router.locate import locate_user
from router.placement import IdNotFound, NoOpenCell, choose_cell, mint_user_id
from router.request import Request
from router.settings import UpstreamSettings
from router.target import is_forwarded, is_plain

names = st.from_regex(rb"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
LINEAGE = uuid.UUID("11111111-2222-4333-8444-555555555555")


def cell(name: str, state: CellState = CellState.OPEN, weight: int = 100) -> Cell:
    return Cell(CellId(name), state, weight, ("http://127.0.0.1:1",))


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_try() -> None:
    breaker = Breaker(failures=3, open_s=1.0)
    breaker.fail(0.0)
    breaker.fail(0.0)
    breaker.succeed()
    for now_s in (0.1, 0.2, 0.3):
        assert breaker.allows(now_s)
        breaker.fail(now_s)
    assert breaker.is_open(0.5)
    assert not breaker.allows(1.2)
    assert breaker.allows(1.3)  # the one that tries
    assert not breaker.allows(1.4)
    assert breaker.allows(2.4)  # nothing was learned from the trial: another
    breaker.succeed()
    assert breaker.allows(2.5)
    assert breaker.trips == 1


@pytest.mark.anyio
async def test_a_bulkhead_keeps_order_and_limits() -> None:
    bulkhead = Bulkhead(UpstreamSettings(in_flight_max=1, queue_max=2, queue_wait_s=0.2))
    permits = bulkhead.permits[Kind.WRITE]
    assert permits.try_acquire("first")
    order: list[int] = []

    async def wait(number: int) -> None:
        await bulkhead.acquire(Kind.WRITE, number)
        order.append(number)

    first, second = asyncio.create_task(wait(1)), asyncio.create_task(wait(2))
    await asyncio.sleep(0)
    assert not permits.try_acquire("other")
    with pytest.raises(CellOverloaded):
        await bulkhead.acquire(Kind.WRITE, "other")  # the queue is full
    permits.release("first")
    await first
    with pytest.raises(CellOverloaded):
        await second  # waited too long
    permits.release(1)
    assert (order, bulkhead.in_flight, bulkhead.queued, bulkhead.shed[Kind.WRITE]) == ([1], 0, 0, 2)


@pytest.mark.anyio
async def test_a_waiter_that_gives_up_loses_no_place() -> None:
    bulkhead = Bulkhead(UpstreamSettings(in_flight_max=1, queue_max=5, queue_wait_s=5))
    await bulkhead.acquire(Kind.READ, "one")
    waiting = asyncio.create_task(bulkhead.acquire(Kind.READ, "other"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    bulkhead.permits[Kind.READ].release("one")
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0)


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"/v1/orders", True), (b"/v1/users/x", True), (b"/v1/usersx", True), (b"/v1/tokens/..", True),
        (b"/v1/users", False), (b"/v1/users/", False), (b"/v1/users?x=1", False), (b"/v1/tokens", False),
        (b"/openapi.json", False), (b"/v1", False), (b"/V1/orders", False), (b"//v1/orders", False), (b"*", False),
    ],
)  # fmt: skip
def test_what_is_forwarded(target: bytes, forwarded: bool) -> None:
    assert is_forwarded(target) is forwarded


@pytest.mark.parametrize(
    ("target", "plain"),
    [
        (b"/v1/orders?x=../..&y=//", True), (b"/v1/orders/by-client-order-id/a%20b.c", True), (b"/v1/a..b", True),
        (b"/v1/.x", True), (b"/v1/100%25", True), (b"/v1/../x", False), (b"/v1/%2e%2E/x", False), (b"/v1/x%2fy", False),
        (b"/v1//x", False), (b"/v1/x/..", False), (b"/v1/.", False), (b"/v1/x\\y", False), (b"/v1/x%5cy", False),
        (b"/v1/%252e%252e/x", False), (b"/v1/x#y", False), (b"/v1/%ff", False),
    ],
)  # fmt: skip
def test_what_is_plain(target: bytes, plain: bool) -> None:
    assert is_plain(target) is plain


@given(
    st.lists(st.tuples(st.from_regex(rb"[a-z][a-z0-9_-]{0,20}", fullmatch=True), st.binary(max_size=20)), max_size=20)
)
def test_a_written_request_has_one_of_each_header_of_ours(pairs: list[tuple[bytes, bytes]]) -> None:
    head = Request()
    for name, value in pairs:
        take_header(head, name, value.replace(b"\r", b"").replace(b"\n", b""))
    drop_named_by_connection(head)
    written = write_request(
        method=b"POST", target=b"/v1/x", host=b"h", route_token=b"t", request_id=b"r", trace=b"c", budget_ms=b"1",
        passed=head.passed, body=b"{}",
    )  # fmt: skip
    lines = written.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    names = [line.partition(b":")[0] for line in lines]
    for ours in (b"host", b"x-route-token", b"x-request-id", b"traceparent", b"x-deadline-ms", b"content-length"):
        assert names.count(ours) == 1
    assert not {b"connection", b"transfer-encoding", b"authorization", b"te", b"upgrade"} & set(names)
    assert not any(b"_" in name for name in names)
    assert written.endswith(b"content-length: 2\r\n\r\n{}")


def test_ids_never_repeat_and_make_valid_traces() -> None:
    ids = Ids()
    made = [Request() for _ in range(1000)]
    for request in made:
        ids.complete(request)
    assert len({request.request_id for request in made}) == 1000
    again = Request()
    take_header(again, b"traceparent", made[0].trace)
    take_header(again, b"x-request-id", made[0].request_id)
    assert (again.trace, again.request_id) == (made[0].trace, made[0].request_id)
    ids.complete(again)
    assert (again.trace, again.request_id) == (made[0].trace, made[0].request_id)


def test_a_new_user_goes_to_the_least_loaded_open_reachable_cell() -> None:
    cells = [cell("cell-1"), cell("cell-2"), cell("cell-3", CellState.CORDONED), cell("cell-4", weight=0)]
    assert choose_cell(cells, {"cell-1": 5, "cell-2": 4}, lambda _: True).cell_id == "cell-2"
    assert choose_cell(cells, {"cell-1": 5, "cell-2": 4}, lambda c: c.cell_id != "cell-2").cell_id == "cell-1"
    assert choose_cell(cells, {}, lambda _: True).cell_id == "cell-1"
    heavy = [cell("cell-1", weight=300), cell("cell-2", weight=100)]
    assert choose_cell(heavy, {"cell-1": 50, "cell-2": 20}, lambda _: True).cell_id == "cell-1"
    with pytest.raises(NoOpenCell):
        choose_cell(cells, {}, lambda _: False)


def test_minted_ids_fall_into_the_cells_own_buckets() -> None:
    cells = [cell("cell-1"), cell("cell-2"), cell("cell-3")]
    buckets = {bucket: "cell-1" for bucket in range(1024)} | {bucket: "cell-2" for bucket in range(1024, 2048)}
    shard_map = build_map(lineage=LINEAGE, epoch=1, cells=cells, buckets=buckets)
    for wanted in shard_map.cells[:2]:
        for _ in range(50):
            user_id = mint_user_id(shard_map, wanted)
            assert user_id.version == 4
            assert locate_user(shard_map, user_id) is wanted
    with pytest.raises(IdNotFound):
        mint_user_id(shard_map, shard_map.cells[2])


def test_a_retired_cell_serves_nobody() -> None:
    shard_map = build_map(
        lineage=LINEAGE,
        epoch=1,
        cells=[cell("cell-1", CellState.RETIRED)],
        buckets=dict.fromkeys(range(65_536), "cell-1"),
    )
    assert locate_user(shard_map, uuid.uuid4()) is None


def test_the_merged_document_holds_only_public_paths() -> None:
    theirs: dict[str, Any] = {
        "paths": {"/v1/orders": {"get": {}}, "/internal/v1/accounts": {"post": {}}, "/v1/users": {"get": {}}},
        "components": {"schemas": {"Order": {}}},
    }
    own = {"openapi": "3.1.0", "paths": {"/v1/users": {"post": {}}}, "components": {"schemas": {"Tokens": {}}}}
    merged = merge_documents(own, theirs)
    assert {path: set(item) for path, item in merged["paths"].items()} == {"/v1/orders": {"get"}, "/v1/users": {"post"}}
    assert merged["paths"]["/v1/orders"]["get"]["security"] == [{"customer": []}]
    assert "security" not in merged["paths"]["/v1/users"]["post"]
    assert set(merged["components"]["schemas"]) == {"Order", "Tokens"}


def test_the_merged_document_tells_what_the_router_itself_may_answer() -> None:
    theirs: dict[str, Any] = {"paths": {"/v1/orders": {"get": {"responses": {"200": {}, "503": {"description": "x"}}}}}}
    own: dict[str, Any] = {"paths": {"/v1/users": {"post": {"parameters": [{}]}}}}
    merged = merge_documents(own, theirs)
    responses = merged["paths"]["/v1/orders"]["get"]["responses"]
    assert set(responses) == {"200", "400", "401", "413", "414", "415", "429", "431", "503"}
    assert responses["503"]["description"] == "x", "the cell's own word stands"
    assert all(response["headers"]["X-Request-Id"]["required"] for response in responses.values())
    assert {status for status, response in responses.items() if "Retry-After" in response["headers"]} == {"429", "503"}
    assert responses["401"]["headers"]["WWW-Authenticate"]["required"]
    sign_up = merged["paths"]["/v1/users"]["post"]
    assert [(parameter["name"], parameter["required"]) for parameter in sign_up["parameters"]] == [
        ("X-Idempotency-Key", True)
    ]
    assert sign_up["requestBody"]["required"]
