"""Permits are given out fairly: a share for each holder, round robin over those who wait."""

import asyncio
import random

import pytest

from infra.runtime.fair_permits import FairPermits, PermitsExhausted, ShareExhausted

pytestmark = pytest.mark.anyio
LONG_S = 30.0


class Scene:
    """Who waits, and in which order they are served. Each releases when asked to."""

    def __init__(
        self,
        permits_max: int = 2,
        permits_per_holder_max: int = 2,
        waiting_max: int = 100,
        waiting_per_holder_max: int = 100,
    ) -> None:
        self.permits = FairPermits(
            permits_max=permits_max,
            permits_per_holder_max=permits_per_holder_max,
            waiting_max=waiting_max,
            waiting_per_holder_max=waiting_per_holder_max,
        )
        self.served: list[str] = []
        self.refused: list[tuple[str, type[Exception]]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, *names: str, within_s: float = LONG_S) -> None:
        """Each name is one request of its first letter."""
        for name in names:
            self.tasks.append(asyncio.create_task(self._acquire(name, within_s)))
        await self.settle()

    async def release(self, *holders: str) -> None:
        for each in holders:
            self.permits.release(each)
            await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _acquire(self, name: str, within_s: float) -> None:
        try:
            await self.permits.acquire(name[0], asyncio.timeout(within_s))
        except (ShareExhausted, PermitsExhausted) as error:
            self.refused.append((name, type(error)))
        else:
            self.served.append(name)


async def test_who_wants_everything_gets_a_share_and_others_come_at_once() -> None:
    scene = Scene(permits_max=4, permits_per_holder_max=2)
    await scene.ask("a1", "a2", "a3", "a4", "b1", "c1")
    assert scene.served == ["a1", "a2", "b1", "c1"]
    await scene.release("b")
    assert scene.served == ["a1", "a2", "b1", "c1"]  # a free permit is not for a holder with a full share
    await scene.release("a")
    assert scene.served[-1] == "a3"
    await scene.end()


async def test_waiters_are_served_round_robin() -> None:
    scene = Scene(permits_max=1, permits_per_holder_max=1)
    await scene.ask("x1", *(f"a{number}" for number in range(1, 6)), "b1", "b2", "c1")
    await scene.release("x", "a", "b", "c", "a", "b", "a", "a")
    assert scene.served == ["x1", "a1", "b1", "c1", "a2", "b2", "a3", "a4", "a5"]
    await scene.release("a")
    assert (scene.permits.in_use, scene.permits.waiting) == (0, 0)


async def test_too_many_of_one_are_refused_and_it_is_said_whose_fault_it_is() -> None:
    scene = Scene(permits_max=2, permits_per_holder_max=1, waiting_per_holder_max=2)
    await scene.ask("a1", "a2", "a3", "a4", within_s=0.05)
    assert (scene.served, scene.refused) == (["a1"], [("a4", ShareExhausted)])
    await asyncio.wait(scene.tasks)
    assert scene.refused[1:] == [("a2", ShareExhausted), ("a3", ShareExhausted)]
    await scene.ask("b1", "c1", within_s=0.05)
    await asyncio.wait(scene.tasks)
    assert (scene.served, scene.refused[3:]) == (["a1", "b1"], [("c1", PermitsExhausted)])
    await scene.release("a", "b")
    assert (scene.permits.in_use, scene.permits.waiting) == (0, 0)


async def test_a_full_queue_is_the_business_of_its_longest_queue() -> None:
    scene = Scene(permits_max=1, permits_per_holder_max=1, waiting_max=3)
    await scene.ask("x1", "a1", "a2", "a3", "b1", "c1", "d1")
    assert sorted(name for name, _ in scene.refused) == ["a2", "a3", "d1"]
    await scene.release("x", "a", "b")
    assert scene.served == ["x1", "a1", "b1", "c1"]
    await scene.release("c")


async def test_a_slow_reader_gives_the_permit_back_and_not_the_share() -> None:
    scene = Scene(permits_max=2, permits_per_holder_max=2)
    await scene.ask("a1", "a2", "a3", "b1")
    for _ in range(2):
        scene.permits.release_permit("a")
    await scene.settle()
    assert (scene.served, scene.permits.in_use) == (["a1", "a2", "b1"], 1)
    scene.permits.release_share("a")
    await scene.settle()
    assert scene.served == ["a1", "a2", "b1", "a3"]
    scene.permits.release_share("a")
    await scene.release("a", "b")
    assert (scene.permits.in_use, scene.permits.waiting) == (0, 0)


async def test_who_gives_up_leaves_nothing_behind() -> None:
    scene = Scene(permits_max=1, permits_per_holder_max=1)
    await scene.ask("x1", "a1", "a2", "b1")
    scene.tasks[1].cancel()
    scene.tasks[2].cancel()
    await scene.settle()
    await scene.release("x")
    assert scene.served == ["x1", "b1"]
    await scene.ask("a3")
    scene.permits.release("b")  # given, and cancelled before the waiter runs
    scene.tasks[-1].cancel()
    await scene.settle()
    assert (scene.permits.in_use, scene.permits.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_counts_are_right(seed: int) -> None:
    chance = random.Random(seed)
    permits = FairPermits(permits_max=4, permits_per_holder_max=2, waiting_max=20, waiting_per_holder_max=6)

    async def one(holder: int) -> None:
        try:
            await permits.acquire(holder, asyncio.timeout(chance.random() * 0.02))
        except (ShareExhausted, PermitsExhausted):
            return
        try:
            assert permits.in_use <= 4
            await asyncio.sleep(chance.random() * 0.005)
        finally:
            if chance.random() < 0.5:
                permits.release_permit(holder)
                permits.release_share(holder)
            else:
                permits.release(holder)

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(one(int(chance.random() ** 2 * 8))))
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.002)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (permits.in_use, permits.waiting, permits._held, permits._queues, len(permits._round_robin)) == (
        0,
        0,
        {},
        {},
        0,
    )
