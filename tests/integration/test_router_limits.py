"""Rates per customer and per address: standard headers, 429 with `Retry-After`, and nobody else is touched."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from router.limits import Limit, address_key
from router.settings import HoldSettings, LimitSettings
from tests.support.moved_metrics import assert_moved
from tests.support.routers import running_router
from tests.support.stub_cell import SeenRequest, answer

pytestmark = pytest.mark.anyio


def limits(**changed: Any) -> LimitSettings:
    return LimitSettings(**{"user_per_s": 1000, "address_per_s": 1000, "identity_per_s": 1000, **changed})


async def test_a_customer_that_asks_too_often_learns_when_to_return(tmp_path: Path) -> None:
    async with running_router(tmp_path, limits=limits(user_per_s=2, user_burst=3)) as router:
        user_id = router.user_of("cell-1")
        answers = [await router.ask("GET", "/v1/account", token=router.token_of(user_id)) for _ in range(4)]
        assert [got.status for got in answers] == [200, 200, 200, 429]
        assert [got.headers["ratelimit-remaining"] for got in answers] == ["2", "1", "0", "0"]
        assert {got.headers["ratelimit-limit"] for got in answers} == {"3"}
        refused = answers[-1]
        assert (refused.code, refused.headers["retry-after"]) == ("RATE_LIMITED", "1")
        assert int(refused.headers["ratelimit-reset"]) in (1, 2)
        assert len(router.cells["cell-1"].seen) == 3
        # A second token of the same customer is the same customer; another customer is not.
        assert (await router.ask("GET", "/v1/account", token=router.token_of(user_id, ttl_s=800))).status == 429
        assert (await router.ask("GET", "/v1/account", token=router.token("cell-1"))).status == 200
        await asyncio.sleep(0.6)
        assert (await router.ask("GET", "/v1/account", token=router.token_of(user_id))).status == 200
        assert router.router.services.limits.user.refused == 2
        assert_moved(router.router.metrics.render(), "router_rejected_by_user_limit_total", "router_token_buckets")


async def test_one_address_too_often_is_refused_before_its_token_is_checked(tmp_path: Path) -> None:
    async with running_router(tmp_path, limits=limits(address_per_s=1, address_burst=2)) as router:
        answers = [await router.ask("GET", "/v1/account", token=f"bad-{number}") for number in range(3)]
        assert [got.status for got in answers] == [401, 401, 429]
        assert answers[-1].headers["ratelimit-limit"] == "2"
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert_moved(router.router.metrics.render(), "router_rejected_by_address_limit_total")


async def test_log_ins_have_a_limit_of_their_own(tmp_path: Path) -> None:
    async with running_router(tmp_path, limits=limits(identity_per_s=0.5, identity_burst=2)) as router:
        answers = [await router.ask("POST", "/v1/tokens", body=b"{}") for _ in range(3)]
        assert [got.status for got in answers] == [400, 400, 429]
        assert answers[-1].code == "RATE_LIMITED"
        assert (await router.ask("GET", "/v1/account", token=router.token())).status == 200


@pytest.mark.parametrize("leads_to", ["another cell", "a hold that ends", "a hold in vain", "no cell"])
async def test_every_answer_to_a_customer_says_what_is_left(tmp_path: Path, leads_to: str) -> None:
    """Also one that another cell gave after a 421, or that came after a hold, or that the router gave itself."""
    hold = HoldSettings(wait_s=0.3)
    async with running_router(tmp_path, limits=limits(user_burst=9, user_per_s=0.001), hold=hold, epoch=5) as router:
        cell, token = router.cells["cell-1"], router.token("cell-1")

        async def halted_once(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
            if leads_to == "a hold that ends":
                cell.behave = cell.succeed
            writer.write(answer(503, {"code": "USER_HALTED", "status": 503, "lease_ends_at": None}))

        if leads_to == "another cell":
            cell.refuse_with_421("cell-2", 6)
        elif leads_to == "no cell":
            cell.refuse_with_421(None, 0)
        else:
            cell.behave = halted_once
        for left in (8, 7):
            got = await router.ask("POST", "/v1/orders", token=token, key="k", body=b"{}")
            assert (got.headers["ratelimit-limit"], got.headers["ratelimit-remaining"]) == ("9", str(left)), got


def test_a_bucket_refills_steadily_and_never_beyond_its_size() -> None:
    limit = Limit("x", per_s=10, burst=5, tracked_max=10)
    bucket = limit.bucket_of("a")
    assert [limit.take(bucket, 100.0) for _ in range(6)] == [True] * 5 + [False]
    assert limit.take(bucket, 100.1)
    assert not limit.take(bucket, 100.1)
    assert [limit.take(bucket, 1000.0) for _ in range(6)] == [True] * 5 + [False]


def test_a_full_table_refuses_nobody_for_being_new_and_full_buckets_are_forgotten() -> None:
    limit = Limit("x", per_s=1, burst=2, tracked_max=2)
    first = limit.bucket_of("a")
    limit.take(first, 10.0)
    limit.take(limit.bucket_of("b"), 10.0)
    late = limit.bucket_of("c")
    assert late is limit.bucket_of("d")
    assert limit.take(late, 10.0)
    limit.sweep(10.5)
    assert (limit.tracked, first.forgotten) == (2, False)
    limit.sweep(12.0)
    assert (limit.tracked, first.forgotten) == (0, True)
    assert limit.bucket_of("a") is not first


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8::1", "20010db800000000/64"),
        ("2001:db8::ffff:1", "20010db800000000/64"), ("fe80::1%eth0", "fe80000000000000/64"),
    ],
)  # fmt: skip
def test_whom_an_address_stands_for(host: str, key: str) -> None:
    assert address_key(host) == key
