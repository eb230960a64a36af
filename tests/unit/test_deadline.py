"""A budget shortens our limits and never lengthens them; what is no number is none."""

import asyncio
import math

import pytest

from infra.runtime import deadline


@pytest.mark.parametrize("budget", [None, b"", b"soon", b"-1", b"1.5", b"1e3", b" 5", b"1" * 10, "٣".encode()])
def test_what_is_no_number_of_milliseconds_is_no_budget(budget: bytes | None) -> None:
    with deadline.budget(budget):
        assert deadline.left_s() == math.inf


def test_a_budget_runs_down_and_ends_with_its_request() -> None:
    with deadline.budget(b"60000"):
        assert 59 < deadline.left_s() <= 60
        with deadline.budget(b"0"):
            assert deadline.left_s() <= 0
    assert deadline.left_s() == math.inf


@pytest.mark.anyio
async def test_each_request_has_its_own() -> None:
    async def request(budget: bytes) -> float:
        with deadline.budget(budget):
            await asyncio.sleep(0)
            return deadline.left_s()

    short, long = await asyncio.gather(request(b"10"), request(b"100000"))
    assert short <= 0.01 < 99 < long
