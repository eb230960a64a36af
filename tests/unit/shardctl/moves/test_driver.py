"""A mover that is killed anywhere, on a network that loses, delays and reorders: one owner, always, and it ends."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.runtime.fault_points import FaultPoints
from shardctl.moves.driver import HALTS_MAX, PATIENCE_S, PHASES, POINTS, Copied, Driver, HandedOver, Move, Stays
from shardctl.moves.lease import LEASE_MS
from shardctl.moves.side import Away
from shardctl.operations.errors import LeaseLost
from tests.support.moving_user import USER, Crash, ModelSide, Network, Source, Target, digest

FATES = ("lost before", "lost after", "dies before", "dies after", *(f"late {number}" for number in range(1, 13)))
MOVE = UUID("00000000-0000-4000-8000-00000000000a")


@dataclass
class World:
    """The two cells, the customer, the time, and what the mover has persisted."""

    fate: Callable[[str], str] = lambda _: "fine"
    writes: Callable[[], bool] = lambda: False
    delays_s: Callable[[], float] = lambda: 0.001
    time_s: float = 0.0
    copied: Copied | None = None
    caught_up: str | None = None
    why: str | None = None
    """Stays: the step before the hand over has said so."""
    handed_over: HandedOver | None = None
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = Source(lambda: self.time_s)
        self.target = Target()
        self.network = Network(lambda what: self.fate(what), self.after_each)
        self.leases, self.sent = itertools.count(1), itertools.count(1)
        for row in ("cash", "order 1", "order 2", "order 3", "key"):
            self.source.write(row)

    def after_each(self) -> None:
        self.time_s += self.delays_s()
        if self.writes():
            self.source.write("cash")
        assert not (self.source.owns and self.target.active), "two owners"
        if not self.source.owns and not self.target.active:
            assert digest(self.source.rows) == digest(self.target.rows), "left without an equal copy"

    def driver(self, faults: str = "") -> Driver:
        lease = next(self.leases)

        def side(name: str, cell: Source | Target) -> ModelSide:
            return ModelSide(name, cell, str(MOVE), lease, self.network, lambda: next(self.sent))

        sides = side("cell-1", self.source), side("cell-2", self.target)

        async def sleep(seconds: float) -> None:
            self.time_s += seconds
            if self.writes():
                self.source.write("cash")

        async def told(line: str) -> None:
            self.told.append(line)

        move = Move(USER, MOVE, "cell-1", "cell-2", 7)
        return Driver(move, *sides, lambda: self.time_s, sleep, uuid4, told, FaultPoints({"FAULT_POINTS": faults}))

    async def attempt(self, driver: Driver) -> None:
        """As the steps of the operation do it: what is persisted between them is all that is known later."""
        is_first = self.copied is None
        if self.why is None and self.caught_up is None:
            try:
                began = await driver.begin()
                self.copied = self.copied or Copied(began["snapshot"])
                self.copied = await driver.copy(self.copied, self._reached)
                self.caught_up, _ = await driver.catch_up(self.copied.snapshot)
            except Stays as error:
                self.why = str(error)
        if self.caught_up is None:
            await driver.let_go()
            return
        try:
            self.handed_over = await driver.hand_over(self.caught_up, is_fresh=is_first)
        except Stays as error:
            self.why = str(error)

    async def _reached(self, copied: Copied) -> None:
        self.copied = copied

    @property
    def is_moved(self) -> bool:
        return self.handed_over is not None

    def assert_one_owner_and_nothing_left(self) -> None:
        self.network.deliver_late()
        if self.is_moved:
            assert self.target.active == str(MOVE)
            assert not self.source.write("cash")
            assert digest(self.source.rows) == digest(self.target.rows)
        else:
            assert self.why
            assert self.source.mark is None
            assert self.source.write("cash")
            assert self.target.active is None
            assert self.target.arriving is None
            assert not self.target.rows


def run(world: World, faults: str = "") -> None:
    asyncio.run(world.attempt(world.driver(faults)))


def test_a_user_moves_whole_with_a_pause_that_is_measured() -> None:
    world = World()
    run(world)
    assert world.is_moved
    done = world.handed_over
    assert done is not None
    assert done.halts == 1
    assert done.pause_ms == pytest.approx(4.0)  # four requests of a millisecond: halt, load, depart, activate
    assert done.phases_ms == {phase: pytest.approx(1.0) for phase in PHASES}
    assert done.attestation is not None
    assert done.attestation.head["write_seq"] == world.source.write_seq
    assert world.copied is not None
    assert (world.copied.rows, world.copied.whole) == (5, True)
    world.assert_one_owner_and_nothing_left()


def bring_to_its_end(world: World) -> None:
    """Attempt after attempt, as an executor does."""
    for _ in range(20):
        try:
            asyncio.run(world.attempt(world.driver()))
        except (Crash, Away):
            continue
        world.assert_one_owner_and_nothing_left()
        return
    raise AssertionError(world.network.log)


@pytest.mark.parametrize("fate", FATES)
def test_every_request_once(fate: str) -> None:
    """Each request of a move in turn, while the customer writes after each: the move is done all the same."""
    requests = len(after("fine", 0).network.log)
    for troubled in range(requests):
        world = after(fate, troubled)
        assert world.is_moved, (troubled, world.network.log, world.why)


def after(fate: str, troubled: int) -> World:
    """The end of a move of which the request of that number met this fate."""
    asked = itertools.count()
    world = World(lambda _: fate if next(asked) == troubled else "fine", writes=lambda: True)
    bring_to_its_end(world)
    return world


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    troubles=st.dictionaries(st.integers(0, 40), st.sampled_from(FATES), max_size=6),
    writes=st.frozensets(st.integers(0, 60), max_size=12),
    slow=st.frozensets(st.integers(0, 60), max_size=6),
)
def test_one_owner_whatever_is_lost_delayed_or_killed(
    troubles: dict[int, str], writes: frozenset[int], slow: frozenset[int]
) -> None:
    """By the number of the request: what becomes of it, after which the customer writes, which takes as long as half a
    lease. A request that was given up is done up to twelve requests later, also by the next attempt's."""
    asked, wrote, took = itertools.count(), itertools.count(), itertools.count()
    bring_to_its_end(
        World(
            lambda _: troubles.get(next(asked), "fine"),
            lambda: next(wrote) in writes,
            lambda: 0.5 if next(took) in slow else 0.001,
        )
    )


@pytest.mark.parametrize("point", POINTS)
def test_failed_at_each_named_point_and_taken_up_again(point: str) -> None:
    world = World()
    if point == "move.after_release":
        world.source.open_orders = 1
    with pytest.raises(Exception, match=point):
        run(world, f"{point}=fail")
    run(world)
    world.assert_one_owner_and_nothing_left()
    assert world.is_moved == (point != "move.after_release")


def test_a_user_with_orders_at_the_venue_stays_and_is_told_why() -> None:
    world = World()
    world.source.open_orders = 1
    run(world)
    assert "orders at the venue" in str(world.why)
    world.assert_one_owner_and_nothing_left()


def test_a_copy_that_differs_is_never_handed_over() -> None:
    world = World()
    world.target.is_corrupting = True
    run(world)
    assert str(world.why).startswith("the copy differs: rows: source 5 rows")
    assert not any("depart" in line for line in world.network.log)
    world.assert_one_owner_and_nothing_left()


def test_halts_that_end_too_soon_are_bounded_and_let_go() -> None:
    """A target that takes longer than the lease to load what changed."""
    assert 0 < LEASE_MS <= 1_000, "no customer waits longer"
    world = World(delays_s=lambda: 0.6)
    run(world)
    assert world.why == f"{HALTS_MAX} halts ended before the user was handed over"
    assert sum("halt: fine" in line for line in world.network.log) == HALTS_MAX
    world.assert_one_owner_and_nothing_left()


def test_a_target_that_is_away_too_long_lets_the_user_go() -> None:
    world = World()
    driver = world.driver()

    async def until_the_copy_is_there() -> None:
        began = await driver.begin()
        world.copied = await driver.copy(Copied(began["snapshot"]), world._reached)
        world.caught_up, _ = await driver.catch_up(world.copied.snapshot)

    asyncio.run(until_the_copy_is_there())
    back_s = PATIENCE_S + 100.0
    world.fate = lambda what: "lost before" if what.startswith("cell-2") and world.time_s < back_s else "fine"
    run(world)
    assert world.why == "cell-2 look was lost"
    assert world.time_s >= back_s
    released = next(at for at, line in enumerate(world.network.log) if line == "cell-1 release: fine")
    discarded = next(at for at, line in enumerate(world.network.log) if line == "cell-2 discard: fine")
    assert released < discarded
    assert world.told
    world.assert_one_owner_and_nothing_left()


def test_a_user_who_has_left_is_activated_however_long_the_target_is_away() -> None:
    world = World()
    world.fate = lambda what: "lost before" if what == "cell-2 activate" and world.time_s < 7_200 else "fine"
    run(world)
    assert world.is_moved
    assert world.handed_over is not None
    assert world.handed_over.pause_ms is not None
    assert world.handed_over.pause_ms >= 7_200_000
    assert 600 <= len(world.told) <= 800  # a line every ten seconds, not one per try


def test_an_answer_that_is_lost_is_asked_for_until_the_source_says() -> None:
    world = World()
    world.fate = lambda what: "lost after" if what == "cell-1 depart" else "fine"
    run(world)
    assert world.handed_over is not None
    assert world.handed_over.pause_ms is not None
    world.assert_one_owner_and_nothing_left()


def test_a_former_leader_that_wakes_up_changes_nothing() -> None:
    world = World()
    former = world.driver()

    async def wakes_up_late() -> None:
        began = await former.begin()
        await world.attempt(world.driver())
        with pytest.raises(LeaseLost):
            await former.copy(Copied(began["snapshot"]), world._reached)
        with pytest.raises(LeaseLost):
            await former.let_go()

    asyncio.run(wakes_up_late())
    world.assert_one_owner_and_nothing_left()
    assert world.is_moved
