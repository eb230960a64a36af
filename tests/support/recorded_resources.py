"""What operations change in tests, held in memory, and kinds that change it: every effect is recorded with its lease.

It is fenced as a stack is: it keeps the highest number that it met, and refuses a lower one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from shardctl.errors import Exit, NotReachable, Refused
from shardctl.operations.errors import LeaseLost
from shardctl.operations.plan import Action, Conclusion, Document, Kind, Plan, PlannedStep, Step
from shardctl.operations.states import State


class Crash(BaseException):
    """The process is gone: nothing catches it."""


@dataclass
class RecordedResources:
    facts: dict[str, Any] = field(default_factory=lambda: {"size": 3})
    fence: int = 0
    effects: list[tuple[int, str, str]] = field(default_factory=list)
    """By which lease, which step, what was decided for it."""
    state: dict[str, str] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    """How often a step still fails."""
    refusals: set[str] = field(default_factory=set)
    crash_at: int = -1
    """The number of the effect before or after which the process dies; odd: after it."""
    reached: int = 0
    tokens: Any = field(default_factory=lambda: count(1))


@dataclass(frozen=True)
class SeenBy:
    """The same, as one executor reaches it."""

    recorded: RecordedResources
    lease: int

    def _maybe_crash(self) -> None:
        self.recorded.reached += 1
        if self.recorded.reached - 1 == self.recorded.crash_at:
            raise Crash

    def change(self, key: str, value: str | None) -> None:
        if self.lease < self.recorded.fence:
            raise LeaseLost(f"lease {self.lease} is over")
        self.recorded.fence = self.lease
        self._maybe_crash()
        if self.recorded.failures.get(key, 0) > 0:
            self.recorded.failures[key] -= 1
            raise NotReachable(f"{key} does not answer")
        if key in self.recorded.refusals:
            raise Refused(f"{key} is not done")
        self.recorded.effects.append((self.lease, key, value or "undone"))
        if value is None:
            self.recorded.state.pop(key, None)
        else:
            self.recorded.state[key] = value
        self._maybe_crash()


async def _decide(step: Step[SeenBy]) -> Document:
    return {"token": f"token-{next(step.resources.recorded.tokens)}"}


async def _set(step: Step[SeenBy]) -> Document:
    name = step.arguments["name"]
    step.resources.change(name, step.intent["token"])
    return {"token": step.intent["token"]}


async def _unset(step: Step[SeenBy]) -> None:
    step.resources.change(step.arguments["name"], None)


async def _walk(step: Step[SeenBy]) -> Document:
    """Page by page, with a checkpoint after each."""
    for page in range(step.progress.get("next", 0), step.arguments["pages"]):
        step.resources.change(f"page {page}", str(page))
        await step.checkpoint({"next": page + 1}, f"page {page}")
    return {"pages": step.arguments["pages"], "tokens": [result["token"] for result in step.results.values()]}


async def _observe(resources: SeenBy, _: Document) -> Document:
    return dict(resources.recorded.facts)


def _plan(arguments: Document, facts: Document) -> Plan:
    sets = [PlannedStep(f"set {number}", "set", {"name": f"set {number}"}) for number in range(facts["size"])]
    last = PlannedStep("walk", "walk", {"pages": 2}, is_irrevocable=bool(arguments.get("seals")))
    return Plan(arguments.get("target", "the record"), (*sets, last), cells=tuple(arguments.get("cells", ())))


def _conclude(results: Mapping[str, Document]) -> Conclusion:
    return Conclusion(State.SUCCEEDED, Exit.DONE, f"{len(results)} steps")


KIND: Kind[SeenBy] = Kind(
    name="tests.change",
    version=1,
    summary="Changes what the test recorded.",
    parse=lambda arguments: arguments,
    observe=_observe,
    plan=_plan,
    actions={"set": Action(_set, decide=_decide, undo=_unset), "walk": Action(_walk)},
    conclude=_conclude,
)
KINDS: Mapping[str, Kind[SeenBy]] = {KIND.name: KIND}
