"""A router before cells that are to get so many orders a second: what is let in, what is shed, and how that looks.

The time that the rate is counted by is the test's, so the rate is exact however slow the machine is.
"""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from router.settings import AdmissionSettings
from tests.support.moved_metrics import assert_moved
from tests.support.raw_http import Answer
from tests.support.routers import RouterUnderTest, running_router

pytestmark = pytest.mark.anyio
PER_S = 20.0
BURST = 10


class TestTime:
    """The router's, while it judges what it lets in."""

    __test__ = False

    def __init__(self) -> None:
        self.now_s = monotonic()

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> TestTime:
    ours = TestTime()
    monkeypatch.setattr("router.cell_exchange.monotonic", ours)
    return ours


@pytest.fixture
async def router(tmp_path: Path, time: TestTime) -> AsyncIterator[RouterUnderTest]:
    async with running_router(tmp_path, admission=AdmissionSettings(orders_per_s=PER_S)) as running:
        yield running


async def order(router: RouterUnderTest, token: str, key: str) -> Answer:
    return await router.ask("POST", "/v1/orders", token=token, key=key, body=b"{}")


async def use_up(router: RouterUnderTest, token: str) -> None:
    for number in range(3 * BURST):
        if (await order(router, token, f"first-{number}")).status == 503:
            return
    raise AssertionError("nothing is ever shed")


async def test_the_rate_holds_and_what_is_shed_was_never_sent(router: RouterUnderTest, time: TestTime) -> None:
    """Four times the rate for ten seconds, of eight customers."""
    tokens = [router.token() for _ in range(8)]
    asked = int(4 * PER_S * 10)
    answers = []
    for number in range(asked):
        time.now_s += 1 / (4 * PER_S)
        answers.append(await order(router, tokens[number % 8], f"k{number}"))
    admitted = [f"k{number}" for number, got in enumerate(answers) if got.status == 200]
    assert PER_S * 10 - 1 <= len(admitted) <= PER_S * 10 + BURST
    assert [request.header("x-idempotency-key") for request in router.cells["cell-1"].seen] == admitted
    shed = [got for got in answers if got.status != 200]
    assert {(got.status, got.code, got.headers["retry-after"]) for got in shed} == {(503, "OVERLOADED", "1")}
    assert all("nothing was done" in got.json()["detail"] for got in shed)
    assert_moved(
        router.router.metrics.render(),
        "router_requests_admitted_total",
        "router_requests_shed_total",
        "router_admission_cap_per_second",
    )


async def test_another_cell_has_a_rate_of_its_own(router: RouterUnderTest) -> None:
    await use_up(router, router.token("cell-1"))
    assert (await order(router, router.token("cell-2"), "k")).status == 200
    assert_moved(router.router.metrics.render(), "router_admission_tokens")


async def test_cancels_and_reads_of_own_orders_pass_while_orders_are_shed(router: RouterUnderTest) -> None:
    token = router.token()
    await use_up(router, token)
    others = [
        ("DELETE", "/v1/orders/0a1b", 200),
        ("GET", "/v1/orders?limit=20", 200),
        ("GET", "/v1/orders/0a1b", 200),
        ("GET", "/v1/portfolio", 200),
        ("POST", "/v1/orders/preview", 200),
        ("POST", "/v1/deposits", 200),
        ("PATCH", "/v1/orders/0a1b", 503),
        ("POST", "/v1/orders/", 503),
        ("POST", "/v1/%6Frders", 503),
    ]
    for number, (method, target, status) in enumerate(others):
        body = None if method in ("GET", "DELETE") else b"{}"
        got = await router.ask(method, target, token=token, key=f"other-{number}", body=body)
        assert got.status == status, f"{method} {target}"


async def test_one_greedy_client_beside_a_quiet_one(router: RouterUnderTest, time: TestTime) -> None:
    """Thirty orders at once, again and again, and beside them two a second: the quiet one is never shed."""
    greedy, quiet = router.token(), router.token()
    got: Counter[tuple[str, int]] = Counter()
    for second in range(12):
        for half in ("a", "b"):
            time.now_s += 0.5
            for number in range(30):
                got["greedy", (await order(router, greedy, f"{second}{half}{number}")).status] += 1
            got["quiet", (await order(router, quiet, f"{second}{half}")).status] += 1
    assert (got["quiet", 200], got["quiet", 503]) == (24, 0)
    assert got["greedy", 200] >= 0.4 * PER_S * 12
    assert got["greedy", 200] + got["quiet", 200] <= PER_S * 12 + BURST
