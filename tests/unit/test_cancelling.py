"""A task that swallows a cancellation ends all the same."""

import asyncio

import pytest

from infra.runtime.cancelling import cancel_all

pytestmark = pytest.mark.anyio


async def test_deaf_tasks_end_too() -> None:
    async def deaf(times: int) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if not times:
                    raise
                times -= 1

    async def broken() -> None:
        raise ValueError

    tasks = [asyncio.create_task(deaf(times)) for times in range(3)]
    failed = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await cancel_all([*tasks, failed])
    assert all(task.cancelled() for task in tasks)
    assert isinstance(failed.exception(), ValueError)
    await cancel_all([])
