"""Places that are given out fairly: a share for each, and turns for those who wait."""

import asyncio
import random

import pytest

from infra.runtime.fair_places import AllTaken, FairPlaces, ShareTaken

pytestmark = pytest.mark.anyio
LONG_S = 30.0


class Scene:
    """Who waits, and in which order they are served. Each leaves when told."""

    def __init__(self, places_max: int = 2, of_one_max: int = 2, waiting_max: int = 100, of_one: int = 100) -> None:
        self.places = FairPlaces(
            places_max=places_max, of_one_max=of_one_max, waiting_max=waiting_max, waiting_of_one_max=of_one
        )
        self.served: list[str] = []
        self.refused: list[tuple[str, type[Exception]]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, *names: str, within_s: float = LONG_S) -> None:
        """Each name is one request of its first letter."""
        for name in names:
            self.tasks.append(asyncio.create_task(self._enter(name, within_s)))
        await self.settle()

    async def leave(self, *whom: str) -> None:
        for each in whom:
            self.places.leave(each)
            await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _enter(self, name: str, within_s: float) -> None:
        try:
            await self.places.enter(name[0], asyncio.timeout(within_s))
        except (ShareTaken, AllTaken) as error:
            self.refused.append((name, type(error)))
        else:
            self.served.append(name)


async def test_who_wants_everything_gets_his_share_and_others_come_at_once() -> None:
    scene = Scene(places_max=4, of_one_max=2)
    await scene.ask("a1", "a2", "a3", "a4", "b1", "c1")
    assert scene.served == ["a1", "a2", "b1", "c1"]
    await scene.leave("b")
    assert scene.served == ["a1", "a2", "b1", "c1"]  # a free place is not for who has his share
    await scene.leave("a")
    assert scene.served[-1] == "a3"
    await scene.end()


async def test_those_who_wait_take_turns() -> None:
    scene = Scene(places_max=1, of_one_max=1)
    await scene.ask("x1", *(f"a{number}" for number in range(1, 6)), "b1", "b2", "c1")
    await scene.leave("x", "a", "b", "c", "a", "b", "a", "a")
    assert scene.served == ["x1", "a1", "b1", "c1", "a2", "b2", "a3", "a4", "a5"]
    await scene.leave("a")
    assert (scene.places.taken, scene.places.waiting) == (0, 0)


async def test_too_many_of_one_are_refused_and_it_is_said_whose_fault_it_is() -> None:
    scene = Scene(places_max=2, of_one_max=1, of_one=2)
    await scene.ask("a1", "a2", "a3", "a4", within_s=0.05)
    assert (scene.served, scene.refused) == (["a1"], [("a4", ShareTaken)])
    await asyncio.wait(scene.tasks)
    assert scene.refused[1:] == [("a2", ShareTaken), ("a3", ShareTaken)]
    await scene.ask("b1", "c1", within_s=0.05)
    await asyncio.wait(scene.tasks)
    assert (scene.served, scene.refused[3:]) == (["a1", "b1"], [("c1", AllTaken)])
    await scene.leave("a", "b")
    assert (scene.places.taken, scene.places.waiting) == (0, 0)


async def test_a_full_queue_is_the_business_of_its_longest_line() -> None:
    scene = Scene(places_max=1, of_one_max=1, waiting_max=3)
    await scene.ask("x1", "a1", "a2", "a3", "b1", "c1", "d1")
    assert sorted(name for name, _ in scene.refused) == ["a2", "a3", "d1"]
    await scene.leave("x", "a", "b")
    assert scene.served == ["x1", "a1", "b1", "c1"]
    await scene.leave("c")


async def test_who_reads_slowly_gives_the_place_back_and_not_his_share() -> None:
    scene = Scene(places_max=2, of_one_max=2)
    await scene.ask("a1", "a2", "a3", "b1")
    for _ in range(2):
        scene.places.vacate("a")
    await scene.settle()
    assert (scene.served, scene.places.taken) == (["a1", "a2", "b1"], 1)
    scene.places.leave_share("a")
    await scene.settle()
    assert scene.served == ["a1", "a2", "b1", "a3"]
    scene.places.leave_share("a")
    await scene.leave("a", "b")
    assert (scene.places.taken, scene.places.waiting) == (0, 0)


async def test_who_gives_up_leaves_nothing_behind() -> None:
    scene = Scene(places_max=1, of_one_max=1)
    await scene.ask("x1", "a1", "a2", "b1")
    scene.tasks[1].cancel()
    scene.tasks[2].cancel()
    await scene.settle()
    await scene.leave("x")
    assert scene.served == ["x1", "b1"]
    await scene.ask("a3")
    scene.places.leave("b")  # given, and called off before he knows
    scene.tasks[-1].cancel()
    await scene.settle()
    assert (scene.places.taken, scene.places.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_counts_are_right(seed: int) -> None:
    chance = random.Random(seed)
    places = FairPlaces(places_max=4, of_one_max=2, waiting_max=20, waiting_of_one_max=6)

    async def one(whom: int) -> None:
        try:
            await places.enter(whom, asyncio.timeout(chance.random() * 0.02))
        except (ShareTaken, AllTaken):
            return
        try:
            assert places.taken <= 4
            await asyncio.sleep(chance.random() * 0.005)
        finally:
            if chance.random() < 0.5:
                places.vacate(whom)
                places.leave_share(whom)
            else:
                places.leave(whom)

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(one(int(chance.random() ** 2 * 8))))
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.002)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (places.taken, places.waiting, places._held, places._lines, len(places._turns)) == (0, 0, {}, {}, 0)
