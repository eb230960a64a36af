"""A drain ends with the last client, also with one that was accepted while it began; nobody is counted twice."""

import asyncio

import pytest

from router.client_registry import ClientRegistry
from router.settings import EdgeSettings

pytestmark = pytest.mark.anyio


class Connection:
    def __init__(self, registry: ClientRegistry, address: str = "a") -> None:
        self.registry = registry
        self.address = address
        self.drained = 0
        self.aborted = False

    def sweep(self, now_s: float) -> None: ...

    def drain(self) -> None:
        self.drained += 1

    def abort(self) -> None:
        self.aborted = True
        self.registry.dismiss(self)


async def test_who_is_accepted_while_a_drain_begins_is_drained_and_waited_for() -> None:
    registry = ClientRegistry(EdgeSettings())
    early, late = Connection(registry), Connection(registry)
    assert registry.admit(early)
    drain = asyncio.create_task(registry.drain(30.0))
    await asyncio.sleep(0)
    registry.dismiss(early)
    assert registry.admit(late)
    assert (early.drained, late.drained) == (1, 1)
    done, _ = await asyncio.wait({drain}, timeout=0.3)
    assert not done, "ended while somebody was connected"
    registry.dismiss(late)
    async with asyncio.timeout(5):
        await drain
    assert not late.aborted


async def test_who_is_left_at_the_end_of_a_drain_is_cut_off() -> None:
    registry = ClientRegistry(EdgeSettings())
    slow = Connection(registry)
    assert registry.admit(slow)
    await registry.drain(0.05)
    assert slow.aborted
    assert len(registry) == 0


async def test_connections_are_counted_by_address_until_they_are_gone() -> None:
    registry = ClientRegistry(EdgeSettings(clients_per_address_max=1, clients_max=2))
    first, second, other, third = (Connection(registry, address) for address in "aabc")
    assert [registry.admit(one) for one in (first, second, other, third)] == [True, False, True, False]
    registry.dismiss(second)  # was not admitted: nothing to give back
    assert (len(registry), registry.addresses, registry.refused) == (2, 2, 2)
    for one in (first, first, other):
        registry.dismiss(one)
    assert (len(registry), registry.addresses) == (0, 0)
