"""What a kind of operation is: facts are observed, a pure planner makes the list of steps, each step has an action.

`--dry-run` shows the very list that would be executed. The hash of the facts is kept with the plan: if they differ when
the operation starts, it is refused before it does anything.
An action is idempotent: it may have been done before, wholly or half, by this process or by one that was killed. What
must be decided once (a key's id, what was there before) is decided before the first attempt and persisted (`decide`).
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from infra.security.roles import Role
from shardctl.errors import Exit, UsageError
from shardctl.operations.states import State

Resources = TypeVar("Resources")
Document = Mapping[str, Any]
"""A JSON object."""
ATTEMPTS_MAX: Final = 5
"""With the pauses between them (`execute.py`) about fifteen seconds: a restart of a server is outlived, a fault is not
hidden."""
STEP_TIMEOUT_S: Final = 60.0
"""Of one attempt: as for the readiness of a process, seconds are usual and the rest is for a busy machine."""
STEPS_MAX: Final = 10_000
"""Each is a row that is read again at every start; what walks further keeps its place in `progress`."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    key: str
    """Its name in the plan, unique there, as people read it: `renew router-1`."""
    action: str
    arguments: Document = field(default_factory=dict)
    attempts_max: int = ATTEMPTS_MAX
    timeout_s: float = STEP_TIMEOUT_S
    is_irrevocable: bool = False
    """Once it has begun, the operation is not cancelled any more."""


@dataclass(frozen=True, slots=True)
class Plan:
    target: str
    """What it is done to, for people."""
    steps: tuple[PlannedStep, ...]
    cells: tuple[str, ...] = ()
    """Cells whose own endpoints the steps call; they learn the leader's number first."""
    subjects: tuple[str, ...] = ()
    """Further cells that it concerns, for the conflict matrix."""
    users: tuple[UUID, ...] = ()

    def __post_init__(self) -> None:
        keys = {step.key for step in self.steps}
        assert 0 < len(keys) == len(self.steps) <= STEPS_MAX, "steps have names of their own"


@dataclass(frozen=True, slots=True)
class Step(Generic[Resources]):
    """What an action is given."""

    resources: Resources
    arguments: Document
    intent: Document
    """What `decide` said before the first attempt; empty without one."""
    progress: Document
    """The last checkpoint of an earlier attempt; empty at first."""
    results: Mapping[str, Document]
    """Of the steps before, by their key."""
    checkpoint: Callable[[Document, str], Awaitable[None]]
    """Persist how far it has come, with a line for who watches. Raises CancelAsked, LeaseLost."""


@dataclass(frozen=True, slots=True)
class Action(Generic[Resources]):
    act: Callable[[Step[Resources]], Awaitable[Document | None]]
    """Raises Refused or UsageError for what no further attempt would change; anything else is tried again."""
    decide: Callable[[Step[Resources]], Awaitable[Document]] | None = None
    undo: Callable[[Step[Resources]], Awaitable[None]] | None = None
    """Of a step that was done or half done; without one there is nothing to undo."""
    finding: Callable[[Document, Document, Exception], Document] | None = None
    """From its arguments, what was decided for it, and the last error: the result of a step that could not be done,
    where the steps after it are done all the same and `conclude` tells it. Without one the operation has failed. Pure.
    """


@dataclass(frozen=True, slots=True)
class Conclusion:
    state: State
    exit_code: Exit
    detail: str | None = None


def succeeded(_: Mapping[str, Document]) -> Conclusion:
    """All steps were done, and that is all there is to say."""
    return Conclusion(State.SUCCEEDED, Exit.DONE)


@dataclass(frozen=True, slots=True)
class Kind(Generic[Resources]):
    name: str
    version: int
    summary: str
    parse: Callable[[Document], Document]
    """The arguments in their one spelling. Raises UsageError."""
    observe: Callable[[Resources, Document], Awaitable[Document]]
    """The facts that the plan depends on, and no others: a change of them makes it stale. Reads, changes nothing."""
    plan: Callable[[Document, Document], Plan]
    """Arguments and facts to steps. Pure. Raises Refused, UsageError."""
    actions: Mapping[str, Action[Resources]]
    conclude: Callable[[Mapping[str, Document]], Conclusion] = succeeded
    preview: Callable[[Resources, Plan], Awaitable[Document]] | None = None
    """What a dry run tells besides the steps (sizes, durations): it changes all the time, so it is no part of the
    facts."""
    needs_reason: bool = False
    """Whoever asks for it, resumes, cancels or approves it says why: it changes the state of a cell or of persons."""
    role: Role = Role.OPERATOR
    """The least role of who asks for it, resumes, cancels or approves it."""


def hash_facts(facts: Document) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def refuse_unknown(arguments: Document, known: Mapping[str, type]) -> None:
    """Arguments that a kind does not have, or of another type. Raises UsageError."""
    from_user = sorted(set(arguments) - set(known))
    if from_user:
        raise UsageError(f"unknown argument {', '.join(from_user)}; known: {', '.join(known) or 'none'}")
    for name, value in arguments.items():
        if value is not None and type(value) is not known[name]:
            raise UsageError(f"{name} is {type(value).__name__}, not {known[name].__name__}")
