"""Whatever cells and maps say, a request follows rising ownership epochs only, a bounded number of them, and ends."""

import asyncio
import json
import uuid
from array import array
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.security.customer_token import CustomerTokenVerifier
from infra.security.keys import new_key_ring, new_signing_ring
from infra.security.route_token import RouteTokenSigner
from infra.topology.identifiers import CellId, Epoch
from infra.topology.ownership_epochs import OwnershipEpochs
from infra.topology.shard_map import ShardMap
from router.destination import label_of
from router.errors import CellUnavailable
from router.fleet import Fleet
from router.hints import Hints
from router.identify import Route, Routes
from router.misroute import HINTS_MAX, Misroutes, Trail
from router.settings import UpstreamSettings
from tests.support.routers import map_of

NAMES = tuple(f"cell-{number}" for number in range(1, 8))
USER = uuid.UUID(int=7)
names = st.sampled_from(NAMES)
epochs = st.integers(0, 12)


@dataclass
class World:
    """Cells that all refuse, each with the next of its hints; and a map that becomes the next one at each refresh."""

    maps: list[ShardMap]
    hints: dict[str, list[tuple[str, int]]]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        fleet = Fleet(UpstreamSettings())
        fleet.follow(self.maps[0])
        remembered = Hints()
        self.routes = Routes(
            verifier=CustomerTokenVerifier(new_signing_ring().public()),
            signer=RouteTokenSigner(new_key_ring()),
            current_map=lambda: self.maps[0],
            fleet=fleet,
            hints=remembered,
            route_token_ttl_s=60,
            cached_max=1,
            now=lambda: 1_800_000_000.0,
        )
        self.misroutes = Misroutes(self.routes, remembered, refresh=self.refresh, current_map=lambda: self.maps[0])

    async def refresh(self, _: float) -> None:
        if len(self.maps) > 1:
            del self.maps[0]

    def refuse(self, route: Route) -> bytes:
        """What the cell of a route says, which is always that the user is another cell's."""
        cell = label_of(route.cell.destination)
        self.asked.append((cell, route.ownership_epoch))
        said = self.hints.get(cell) or [("", 0)]
        owner, epoch = said[0] if len(said) == 1 else said.pop(0)
        return json.dumps({"owner": owner, "epoch": epoch}).encode()

    async def ask_until_nobody_is_left(self) -> Trail:
        route, trail = self.routes.to_owner(USER), Trail()
        try:
            while True:
                route = await self.misroutes.find_owner(route, self.refuse(route), trail)
                if len(self.asked) % 3 == 0:
                    trail.is_map_fresh = False  # as after a hold
        except CellUnavailable:
            return trail


URLS = {name: (f"http://127.0.0.1:{port}",) for port, name in enumerate(NAMES, 1)}
BASE = map_of(URLS, since=1, pins=[(USER, NAMES[0])], pinned_since=1)


def a_map(number: int, pin: str, since: int) -> ShardMap:
    """The user's pin is all that differs: buckets are dealt out once, because that takes a tenth of a second."""
    assert BASE.ownership is not None
    parts = {part: getattr(BASE, part) for part in ("lineage", "cells", "owners", "pin_high", "pin_low")}
    return ShardMap(
        **parts,
        epoch=Epoch(900 + number),
        pin_owners=array("H", [NAMES.index(pin) + 1]),
        ownership=OwnershipEpochs(BASE.ownership.buckets, array("Q", [since])),
    )


@settings(max_examples=60)
@given(
    st.lists(st.tuples(names, st.integers(1, 12)), min_size=1, max_size=12),
    st.dictionaries(names, st.lists(st.tuples(names, epochs), min_size=1, max_size=6)),
)
def test_a_request_that_everybody_refuses_ends(
    pins: list[tuple[str, int]], hints: dict[str, list[tuple[str, int]]]
) -> None:
    world = World([a_map(number, *pin) for number, pin in enumerate(pins)], hints)
    trail = asyncio.run(world.ask_until_nobody_is_left())
    followed = [epoch for _, epoch in world.asked]
    assert followed == sorted(set(followed)), "each one is later than the one before"
    assert len(followed) <= 1 + 2 * HINTS_MAX
    assert trail.hints <= HINTS_MAX + 1  # the last one was not followed any more


def test_cell_ids_of_nonsense_end_the_request_and_are_not_remembered() -> None:
    for owner in ("cell-9", "", "../cell-2", "x" * 400):
        world = World([a_map(0, "cell-1", 3)], {"cell-1": [(owner, 11)]})
        asyncio.run(world.ask_until_nobody_is_left())
        assert world.asked == [("cell-1", 3)]
        assert world.routes.to_owner(USER).cell is world.routes.to_cell(USER, CellId("cell-1")).cell
