"""In which order logins are served, decided by hand: nothing here waits for time."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from cell.accounts.fair_queue import FairQueue, HashPermit, QueueFull
from cell.accounts.hashing import NICE, PasswordHashing
from cell.metrics import TABLE
from infra.runtime.deadline import OutOfTime
from infra.runtime.telemetry import Metrics

pytestmark = pytest.mark.anyio


class Desk:
    """Callers who hold their turn until they are told to go."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.served: list[str] = []
        self.held: dict[str, HashPermit] = {}
        self._go: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, account: str, source: str = "here") -> None:
        self._go[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, account, source))
        await self.settle()

    async def go(self, name: str) -> None:
        self._go[name].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def serve_all(self) -> list[str]:
        while len(self.held) > 0:
            await self.go(next(iter(self.held)))
        return self.served

    async def _hold(self, name: str, account: str, source: str) -> None:
        async with self.queue.permit(account, source) as permit:
            self.served.append(name)
            self.held[name] = permit
            await self._go[name].wait()
            del self.held[name]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(FairQueue(permits=1, waiting_max=12, per_account_max=6))
    yield desk
    for task in desk.tasks.values():
        task.cancel()
    await asyncio.gather(*desk.tasks.values(), return_exceptions=True)


async def test_a_neighbour_is_served_between_the_guesses_at_one_account(desk: Desk) -> None:
    for n in range(5):
        await desk.come(f"guess-{n}", "attacked")
    await desk.come("neighbour", "other")
    assert await desk.serve_all() == ["guess-0", "guess-1", "neighbour", "guess-2", "guess-3", "guess-4"]
    assert desk.queue.waiting == 0


async def test_one_source_with_many_accounts_waits_for_itself(desk: Desk) -> None:
    for n in range(6):
        await desk.come(f"stuffed-{n}", f"account-{n}", source="attacker")
    await desk.come("neighbour", "other", source="home")
    assert (await desk.serve_all()).index("neighbour") <= 2


async def test_an_account_has_one_turn_at_a_time_however_many_places_are_free() -> None:
    desk = Desk(FairQueue(permits=3, waiting_max=12, per_account_max=6))
    for n in range(3):
        await desk.come(f"guess-{n}", "attacked", source=f"address-{n}")
    await desk.come("neighbour", "other", source="home")
    assert desk.served == ["guess-0", "neighbour"]
    desk.held["guess-0"].release()
    await desk.settle()
    assert desk.served == ["guess-0", "neighbour"]  # the account is still taken
    assert await desk.serve_all() == ["guess-0", "neighbour", "guess-1", "guess-2"]


async def test_who_gave_the_place_back_makes_room_for_another_account(desk: Desk) -> None:
    await desk.come("first", "one")
    await desk.come("second", "two")
    assert desk.served == ["first"]
    desk.held["first"].release()
    await desk.settle()
    assert desk.served == ["first", "second"]


async def test_what_waits_is_bounded_per_account_and_in_all(desk: Desk) -> None:
    for n in range(7):
        await desk.come(f"guess-{n}", "attacked")
    with pytest.raises(QueueFull) as full:
        async with desk.queue.permit("attacked", "here"):
            raise AssertionError("this account has six waiting")
    assert full.value.of_account
    for n in range(6):
        await desk.come(f"other-{n}", f"account-{n}")
    with pytest.raises(QueueFull) as full:
        async with desk.queue.permit("anybody", "here"):
            raise AssertionError("twelve wait")
    assert not full.value.of_account
    assert desk.queue.waiting == 12


async def test_who_fills_the_room_yields_to_who_has_less_waiting(desk: Desk) -> None:
    for n in range(13):
        await desk.come(f"stuffed-{n}", f"account-{n}", source="attacker")
    await desk.come("owner", "account-0", source="home")
    assert desk.queue.waiting == 12
    put_out = [name for name, task in desk.tasks.items() if task.done()]
    assert len(put_out) == 1
    assert isinstance(desk.tasks[put_out[0]].exception(), QueueFull)
    assert "owner" in (await desk.serve_all())[:3]
    assert len(desk.served) == 13


async def test_who_gives_up_waiting_leaves_nothing_behind(desk: Desk) -> None:
    await desk.come("first", "one")
    await desk.come("second", "one")
    await desk.come("third", "two")
    desk.tasks["second"].cancel()
    with pytest.raises(OutOfTime):
        async with desk.queue.permit("three", "here", within_s=0):
            raise AssertionError("nobody waits that long")
    await desk.settle()
    assert desk.queue.waiting == 1
    assert await desk.serve_all() == ["first", "third"]
    assert desk.queue.waiting == 0


async def test_who_is_cancelled_at_the_moment_of_its_turn_keeps_nothing(desk: Desk) -> None:
    await desk.come("first", "one")
    await desk.come("second", "two")
    await desk.come("third", "three")
    desk._go["first"].set()
    await asyncio.sleep(0)  # its turn ends, the next begins; nobody has run yet
    desk.tasks["second"].cancel()
    await desk.settle()
    assert await desk.serve_all() == ["first", "third"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a priority of its own")
async def test_passwords_are_hashed_at_a_lower_priority_than_anything_else_here() -> None:
    hashing = PasswordHashing(Metrics(TABLE))
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    theirs = await hashing._run("verify", lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert theirs == min(19, ours + NICE) > ours
