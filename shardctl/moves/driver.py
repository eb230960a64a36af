"""Drive one move: copy while the user trades, halt, prove, depart, activate. Or let go, and the user stays.

What holds wherever this process dies, and whatever request or answer is lost:
- A cell decides who owns the user (`states.py`); an attempt that comes after a crash asks both and goes on from there.
- Before `depart` is sent, whatever is not known ends in letting go. From then on the source is asked until it answers,
  and a user who has left is activated however long that takes. Nobody else would do it.
- The target's copy is discarded only after the source has said that the move is over there: a copy that may be needed
  is never thrown away.
- `depart` is sent only after the target's own proof was equal to what the source attests.
It never decides by time alone, and it never changes a row itself.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

from infra.runtime.fault_points import FaultPoints
from shardctl.errors import Refused
from shardctl.moves.compare import differences, proven_tables, said
from shardctl.moves.frame import Attested, FrameInvalid, Header, read_header
from shardctl.moves.lease import LEASE_MS
from shardctl.moves.side import Away, LeaseOver, MoveSide, SideRefused
from shardctl.moves.states import Next, Side, SideState, next_of

HALTS_MAX: Final = 5
"""In one move: each is a pause that the user feels, and what five do not manage a sixth will not."""
ROUNDS_MAX: Final = 5
"""Catching up before a halt: each round is shorter than the one before, or the user is faster than the copy."""
FEW_ROWS: Final = 200
"""Changed rows that a halt carries in some milliseconds."""
PATIENCE_S: Final = 60.0
"""For a target that does not answer while the user has not left: a restart is outlived, then the user is let go."""
ASK_S: Final = 30.0
COPY_S: Final = 120.0
"""Read or load megabytes."""
HALTED_S: Final = 5.0
"""One call under a halt: the lease ends before; the rest is for an answer that is on its way."""
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0)
"""Before a cell that was away is asked again; the last one is repeated. So a cell that is back is met within a second,
and activated or let go well within ten."""
TOLD_EVERY_S: Final = 10.0
"""Who watches is told that a cell is waited for; it also looks whether the lease still holds."""
PHASES: Final = ("halt", "load", "depart", "activate")
# Where a test may kill the mover; in the order of a move.
BEGUN: Final = "move.after_begin"
ARRIVED: Final = "move.after_arrive"
LOADED: Final = "move.after_load"
CAUGHT_UP: Final = "move.after_catch_up"
HALTED: Final = "move.after_halt"
PROVEN: Final = "move.before_depart"
LEFT: Final = "move.after_depart"
ACTIVATED: Final = "move.after_activate"
RELEASED: Final = "move.after_release"
POINTS: Final = (BEGUN, ARRIVED, LOADED, CAUGHT_UP, HALTED, PROVEN, LEFT, ACTIVATED, RELEASED)
_GONE: Final = frozenset({"MOVE_UNKNOWN", "USER_NOT_FOUND"})
_Answer = TypeVar("_Answer")


class Stays(Refused):
    """The user is not moved, and trades on where they are. Says why."""


class Stuck(Refused):
    """The user has left, and the target refuses to activate them: a person must look. They wait meanwhile."""


@dataclass(frozen=True, slots=True)
class Move:
    user_id: UUID
    move_id: UUID
    source: str
    target: str
    ownership_epoch: int


@dataclass(frozen=True, slots=True)
class Copied:
    """How far the copy has come; persisted, so that the next attempt goes on there."""

    snapshot: str
    """Since when changes are still to be carried."""
    place: object | None = None
    whole: bool = False
    """All pages are there."""
    rows: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Attestation:
    """What both sides said of the same rows, and it was equal."""

    kind: str
    head: dict[str, Any]
    tables: dict[str, Attested]
    changed_rows: int


@dataclass(frozen=True, slots=True)
class HandedOver:
    certificate: str
    pause_ms: float | None
    """From the halt that was sent to the activation that was answered. None: another attempt halted, which has died."""
    write_seq: int | None
    halts: int
    attestation: Attestation | None
    """Of what changed last. None: another attempt compared it."""
    phases_ms: Mapping[str, float] = field(default_factory=dict)
    """Of the pause: how long each request took. Empty: another attempt halted."""


@dataclass
class Driver:
    """Of one move, in one attempt. `told` persists a line for who watches; it raises CancelAsked, LeaseLost, which end
    the attempt at once. Raises Stays, Stuck, LeaseLost, FrameInvalid, ValueError; Away only where it says so."""

    move: Move
    source: MoveSide
    target: MoveSide
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    new_halt_id: Callable[[], UUID]
    told: Callable[[str], Awaitable[None]]
    faults: FaultPoints = field(default_factory=FaultPoints)

    # ---- copy, while the user trades ---------------------------------------------------------------------------------

    async def begin(self) -> dict[str, Any]:
        """What there is to copy: {"tables", "rows", "bytes", "write_seq", "snapshot"}. Raises Stays, Away."""
        epoch = {"ownership_epoch": self.move.ownership_epoch}
        began = await self._refusable(self._ask(self.source, "begin", {"to": self.move.target, **epoch}))
        await self.faults.reach(BEGUN)
        await self._refusable(self._ask(self.target, "arrive", {"from": self.move.source, **epoch}))
        await self.faults.reach(ARRIVED)
        return dict(began)

    async def copy(self, copied: Copied, reached: Callable[[Copied], Awaitable[None]]) -> Copied:
        """All pages, from where `copied` says. Raises Stays, Away."""
        while not copied.whole:
            asked = {"user_id": str(self.move.user_id), "place": copied.place}
            page = await self._refusable(self.source.read("read", asked, timeout_s=COPY_S))
            header = self._header(page.frame)
            proof = await self._refusable(self.target.load(page.frame, timeout_s=COPY_S))
            self._stay_if_different(header, proof)
            await self.faults.reach(LOADED)
            copied = Copied(
                header.snapshot or copied.snapshot,
                page.place,
                page.place is None,
                copied.rows + header.rows,
                copied.size_bytes + header.size_bytes,
            )
            await reached(copied)
        return copied

    async def catch_up(self, since: str) -> tuple[str, Attestation]:
        """Carry what has changed until little is left: since when the rest is, and what both sides attest of all the
        user's rows. Raises Stays, Away."""
        for _ in range(ROUNDS_MAX):
            asked = {"user_id": str(self.move.user_id), "since": since}
            page = await self._refusable(self.source.read("catch-up", asked, timeout_s=COPY_S))
            header = self._header(page.frame)
            proof = await self._refusable(self.target.load(page.frame, timeout_s=COPY_S))
            self._stay_if_different(header, proof)
            await self.faults.reach(CAUGHT_UP)
            since = header.snapshot or since
            if header.changed_rows <= FEW_ROWS:
                break
        return since, self._attestation(header, proof)

    # ---- hand over ---------------------------------------------------------------------------------------------------

    async def hand_over(self, since: str, *, is_fresh: bool) -> HandedOver:
        """To its end, whatever happens on the way: the user is active in the target, or was let go (Stays).
        `is_fresh`: the copy has just caught up, and need not before the first halt."""
        for halts in range(HALTS_MAX + 1):
            try:
                source, target, todo = await self._decide()
            except Away as error:
                return await self._let_go_or_forward(str(error))
            if todo is Next.DONE or todo is Next.GO_FORWARD:
                return await self._go_forward(source, halts)
            if todo is Next.LET_GO:
                gone = f"{source.state} in {self.move.source}, {target.state} in {self.move.target}"
                return await self._let_go_or_forward(f"there is nothing to hand over: {gone}")
            if halts == HALTS_MAX:
                break
            try:
                if not is_fresh or halts > 0:
                    since, _ = await self.catch_up(since)
                return await self._under_a_halt(since, halts + 1)
            except Stays as error:
                return await self._let_go_or_forward(str(error))
            except (Away, SideRefused) as error:
                await self.told(f"halt {halts + 1} did not hand over: {error}")
                # Refused: a halt of an attempt that has died still runs, or an order is at the venue just now.
                is_refused = isinstance(error, SideRefused) and not isinstance(error, LeaseOver)
                await self.sleep(LEASE_MS / 1000 if is_refused else PAUSES_S[0])
        return await self._let_go_or_forward(f"{HALTS_MAX} halts ended before the user was handed over")

    async def let_go(self) -> None:
        """The source first: until it has answered, the copy may be all that there will be. Asks until both have
        answered. Raises Stuck if the user has left, which is the caller's to prevent."""
        if not await self._released():
            raise Stuck(f"{self.move.user_id} has left {self.source.name}: the move goes forward only")
        await self._discarded()

    async def _under_a_halt(self, since: str, halts: int) -> HandedOver:
        """Raises Stays, Away, SideRefused (LeaseOver) while the user may still be the source's; with `depart` sent it
        ends only in an answer."""
        halt_id, at_s = str(self.new_halt_id()), [self.monotonic()]
        asked = {
            "user_id": str(self.move.user_id), "halt_id": halt_id, "lease_ms": LEASE_MS, "since": since,
        }  # fmt: skip
        page = await self.source.read("halt", asked, timeout_s=HALTED_S)
        at_s.append(self.monotonic())
        header = self._header(page.frame)
        await self.faults.reach(HALTED)
        proof = await self.target.load(page.frame, timeout_s=HALTED_S)
        at_s.append(self.monotonic())
        self._stay_if_different(header, proof)
        attestation = self._attestation(header, proof)
        await self.faults.reach(PROVEN)
        certificate = await self._depart(halt_id, proof)
        at_s.append(self.monotonic())
        await self.faults.reach(LEFT)
        active = await self._activate(certificate)
        at_s.append(self.monotonic())
        pause_ms = (at_s[-1] - at_s[0]) * 1000.0
        took_ms = [(later - sooner) * 1000.0 for sooner, later in itertools.pairwise(at_s)]
        phases_ms = dict(zip(PHASES, took_ms, strict=True))
        return HandedOver(certificate, pause_ms, active.write_seq, halts, attestation, phases_ms)

    async def _depart(self, halt_id: str, proof: Any) -> str:
        """The certificate. Raises LeaseOver, SideRefused, Away when the source says that the user has not left."""
        asked = {"halt_id": halt_id, "proof": dict(proof)}
        try:
            answer = await self._ask(self.source, "depart", asked, timeout_s=HALTED_S)
            return str(answer["certificate"])
        except (Away, SideRefused):
            # It may have been done: the source says.
            source = await self._look(self.source)
            if source.certificate is None:
                raise
            return source.certificate

    async def _go_forward(self, source: Side, halts: int) -> HandedOver:
        assert source.certificate is not None, "next_of looked"
        active = await self._activate(source.certificate)
        return HandedOver(source.certificate, None, active.write_seq, halts, None)

    async def _activate(self, certificate: str) -> Side:
        """Until the target says that it is done. Raises Stuck if it says no."""

        async def activate() -> Side:
            try:
                answer = await self._ask(self.target, "activate", {"certificate": certificate})
                return Side(SideState.ACTIVE, None, answer["ownership_epoch"], answer["write_seq"])
            except SideRefused as error:
                target = await self.target.look(self.move.user_id, timeout_s=ASK_S)
                if target.state is SideState.ACTIVE:
                    return target
                raise Stuck(
                    f"{self.move.user_id} has left {self.source.name} and waits: {error}. Their certificate: "
                    f"`shardctl operations show`; then `shardctl operations resume`"
                ) from error

        active = await self._insist(self.target.name, activate)
        if active.ownership_epoch != self.move.ownership_epoch:
            raise Stuck(f"{self.move.user_id} is active in {self.target.name} at epoch {active.ownership_epoch}")
        await self.faults.reach(ACTIVATED)
        return active

    # ---- let go ------------------------------------------------------------------------------------------------------

    async def _let_go_or_forward(self, why: str) -> HandedOver:
        """Raises Stays when the user is the source's for certain: a depart of before may have been done."""
        if await self._released():
            await self._discarded()
            raise Stays(why)
        return await self._go_forward(await self._look(self.source), 0)

    async def _released(self) -> bool:
        """False: the user has left."""

        async def release() -> bool:
            try:
                await self._ask(self.source, "release", {})
            except SideRefused as error:
                if error.code in _GONE:
                    return True
                source = await self.source.look(self.move.user_id, timeout_s=ASK_S)
                if source.state not in (SideState.DEPARTED, SideState.NONE):
                    raise
                return source.state is SideState.NONE
            return True

        done = await self._insist(self.source.name, release)
        await self.faults.reach(RELEASED)
        return done

    async def _discarded(self) -> None:
        async def discard() -> None:
            try:
                await self._ask(self.target, "discard", {})
            except SideRefused as error:
                if error.code in _GONE:
                    return
                target = await self.target.look(self.move.user_id, timeout_s=ASK_S)
                if target.state is not SideState.NONE:
                    raise

        await self._insist(self.target.name, discard)

    # ---- asking ------------------------------------------------------------------------------------------------------

    async def acknowledge(self, what: str) -> None:
        """The source need not redeliver it any more. Raises Away, SideRefused."""
        await self._ask(self.source, "acknowledge", {"what": what})

    async def _ask(self, side: MoveSide, verb: str, body: dict[str, Any], *, timeout_s: float = ASK_S) -> Any:
        return await side.ask(verb, {"user_id": str(self.move.user_id), **body}, timeout_s=timeout_s)

    async def _decide(self) -> tuple[Side, Side, Next]:
        """Raises Away for a target that is away too long while the user has not left; Stuck for what must not be."""
        source = await self._look(self.source)
        has_left = source.state is SideState.DEPARTED
        target = await self._look(self.target, patience_s=None if has_left else PATIENCE_S)
        try:
            return source, target, next_of(source, target)
        except ValueError as error:
            raise Stuck(f"{self.move.user_id}: {error}: `shardctl users verify {self.move.user_id}`") from error

    async def _look(self, side: MoveSide, *, patience_s: float | None = None) -> Side:
        return await self._insist(
            side.name, lambda: side.look(self.move.user_id, timeout_s=ASK_S), patience_s=patience_s
        )

    async def _insist(
        self, name: str, ask: Callable[[], Awaitable[_Answer]], *, patience_s: float | None = None
    ) -> _Answer:
        """Until there is an answer; with `patience_s` only so long (Away), where something else is right too."""
        begun_s, told_s = self.monotonic(), -TOLD_EVERY_S
        for tries in itertools.count():
            try:
                return await ask()
            except Away as error:
                waited_s = self.monotonic() - begun_s
                if patience_s is not None and waited_s >= patience_s:
                    raise
                if waited_s - told_s >= TOLD_EVERY_S:
                    told_s = waited_s
                    await self.told(f"waits for {name}: {error}")
                await self.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
        raise AssertionError("it counts for ever")

    async def _refusable(self, answer: Awaitable[_Answer]) -> _Answer:
        """Before anything was handed over a refusal means that the user stays."""
        try:
            return await answer
        except SideRefused as error:
            raise Stays(str(error)) from error

    def _header(self, frame: bytes) -> Header:
        try:
            return read_header(frame, str(self.move.move_id))
        except FrameInvalid as error:
            raise Stays(f"{self.source.name} sent no frame that is understood: {error}") from error

    def _stay_if_different(self, header: Header, proof: Any) -> None:
        found = differences(header, proof)
        if found:
            raise Stays(f"the copy differs: {said(found)}")

    def _attestation(self, header: Header, proof: Any) -> Attestation:
        """Both were compared and are equal."""
        if header.attest is None:
            raise Stays(f"{self.source.name} attests nothing of what it sent ({header.kind})")
        return Attestation(header.attest, dict(proof["head"]), proven_tables(proof), header.changed_rows)
