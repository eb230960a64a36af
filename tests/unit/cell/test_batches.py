"""A worker that ends lets the batches under way end, and begins no other."""

import asyncio

import pytest

from cell.executions.batches import Batches

pytestmark = pytest.mark.anyio


async def test_closing_waits_for_what_is_under_way_and_for_nothing_else() -> None:
    batches, go_on, done = Batches(), asyncio.Event(), []

    async def work() -> None:
        while True:
            async with batches.one():
                await go_on.wait()
                done.append(1)

    workers = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(batches.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing
    await asyncio.sleep(0)
    assert done == [1, 1], "each ended its batch and began no other"
    assert not any(worker.done() for worker in workers)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


async def test_a_batch_that_fails_has_ended() -> None:
    batches = Batches()
    with pytest.raises(ValueError, match="no"):
        async with batches.one():
            raise ValueError("no")
    await batches.close()
