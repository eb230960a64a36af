"""Execute one operation: persist what is about to be done, do it, persist the outcome; repeat.

May be killed anywhere. Whoever takes the operation up reads what was persisted and does the step in hand again; every
action bears that. Every write carries the lease's number, so an executor that was paused beyond its lease changes
nothing more: LeaseLost ends it. An attempt that fails is repeated after a growing pause, a bounded number of times;
then the operation has failed, and says at which step. Cancelling takes effect between steps, at a checkpoint, and
between attempts; what was begun is then undone, newest first, where its kind knows how.
While the database is away, or a fact cannot be read, nothing is decided: the error goes to the caller, who comes again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic

from infra.runtime.procedures import ConnectionsTaken, DatabaseAway, DatabaseBusy
from shardctl.errors import Exit, Refused, ShardctlError, UsageError
from shardctl.operations.errors import CancelAsked, LeaseLost
from shardctl.operations.plan import Action, Document, Kind, Resources, Step, hash_facts
from shardctl.operations.queries import Operation, Operations, StepRow
from shardctl.operations.states import State, StepState

_log = logging.getLogger(__name__)

PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between attempts; the last one is repeated. Fifteen seconds for five attempts: a server's restart is shorter."""
_DETAIL_MAX: Final = 2_000
"""Characters of an error that are kept: its sentence and the cause, no traceback."""
_NOT_THE_STEPS: Final = (LeaseLost, CancelAsked, DatabaseAway, DatabaseBusy, ConnectionsTaken)
"""What ends the run of an operation, and says nothing of its step."""


class UnknownKind(Exception):
    """Another release's operation: this one does not know the kind, its version or an action, and leaves it alone."""


class _Failed(Exception):
    def __init__(self, step: str, error: Exception) -> None:
        super().__init__(f"{step}: {str(error) or type(error).__name__}")
        self.exit_code = error.exit_code if isinstance(error, ShardctlError) else Exit.FAILED


class Executor(Generic[Resources]):
    """Of one lease. `open_resources` makes what the actions of one operation work on; `announce` tells the cells that
    an operation calls who leads now, and raises while one of them does not answer."""

    def __init__(
        self,
        operations: Operations,
        kinds: Mapping[str, Kind[Resources]],
        lease: int,
        *,
        open_resources: Callable[[Operation], Resources],
        announce: Callable[[Operation], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._operations = operations
        self._kinds = kinds
        self._lease = lease
        self._open_resources = open_resources
        self._announce = announce
        self._sleep = sleep

    async def run(self, number: int) -> State:
        """To its end. Raises LeaseLost, UnknownKind, a DatabaseFailure, and what observing and announcing raise."""
        operation = await self._operations.read(number)
        kind = self._kinds.get(operation.kind)
        # Planned by another release: its steps may mean something else here.
        if kind is None or kind.version != operation.version:
            raise UnknownKind(f"operation {number} is {operation.kind} version {operation.version}")
        resources = self._open_resources(operation)
        await self._announce(operation)
        seen = operation.state_hash
        # Begun before, its own steps have changed the facts; the hash is for what has not begun.
        if operation.state == State.PENDING:
            seen = hash_facts(await kind.observe(resources, operation.arguments))
        state = await self._operations.start(self._lease, number, seen)
        if state is State.RUNNING:
            state = await self._go_forward(operation, kind, resources)
        if state is State.CANCELLING:
            state = await self._go_back(operation, kind, resources)
        return state

    async def _go_forward(self, operation: Operation, kind: Kind[Resources], resources: Resources) -> State:
        number = operation.operation_id
        results: dict[str, Document] = {}
        try:
            for step in await self._operations.steps(number):
                if step.state != StepState.DONE:
                    results[step.key] = await self._attempt(number, step, _action(kind, step), resources, results)
                else:
                    results[step.key] = step.result or {}
        except CancelAsked:
            return await self._end(number, State.CANCELLING, None, None)
        except _Failed as error:
            return await self._end(number, State.FAILED, error.exit_code, str(error))
        conclusion = kind.conclude(results)
        return await self._end(number, conclusion.state, conclusion.exit_code, conclusion.detail)

    async def _attempt(
        self,
        number: int,
        step: StepRow,
        action: Action[Resources],
        resources: Resources,
        results: Mapping[str, Document],
    ) -> Document:
        """The step's result. Raises CancelAsked, _Failed."""
        intent, progress = step.intent, step.progress or {}
        for attempt in range(step.attempts + 1, step.attempts_max + 1):
            try:
                if intent is None and action.decide is not None:
                    intent = await action.decide(self._given(number, step, resources, results, {}, progress))
                intent = await self._operations.begin_step(self._lease, number, step.position, intent)
                given = self._given(number, step, resources, results, intent, progress)
                async with asyncio.timeout(step.timeout_s):
                    result = await action.act(given) or {}
            except _NOT_THE_STEPS:
                raise
            except Exception as error:
                # What was refused would be refused again.
                if isinstance(error, Refused | UsageError) or attempt >= step.attempts_max:
                    return await self._give_up(number, step, action, intent, error)
                await self._again(number, step, error, attempt)
                # It may have come further than this attempt knows: a checkpoint is persisted before it is heard of.
                progress = await self._progress(number, step)
            else:
                await self._operations.end_step(self._lease, number, step.position, "done", result, None)
                return result
        # The process was killed in every one of them.
        refusal = Refused(f"did not end in {step.attempts_max} attempts")
        return await self._give_up(number, step, action, intent, refusal)

    async def _progress(self, number: int, step: StepRow) -> Document:
        rows = await self._operations.steps(number)
        return next(row.progress or {} for row in rows if row.position == step.position)

    async def _go_back(self, operation: Operation, kind: Kind[Resources], resources: Resources) -> State:
        number = operation.operation_id
        steps = await self._operations.steps(number)
        results = {step.key: step.result or {} for step in steps}
        for step in reversed(steps):
            undo = _action(kind, step).undo
            # A step that failed half way is undone like one that was done.
            if undo is None or step.state in (StepState.PENDING, StepState.UNDONE):
                continue
            try:
                await self._undo(number, step, undo, resources, results)
            except _Failed as error:
                return await self._end(number, State.FAILED, error.exit_code, f"while undoing: {error}")
        asked_by = (await self._operations.read(number)).cancel_asked_by
        return await self._end(number, State.CANCELLED, 1, f"cancelled by {asked_by}")

    async def _undo(
        self,
        number: int,
        step: StepRow,
        undo: Callable[[Step[Resources]], Awaitable[None]],
        resources: Resources,
        results: Mapping[str, Document],
    ) -> None:
        for attempt in range(1, step.attempts_max + 1):
            intent = await self._operations.begin_step(self._lease, number, step.position, step.intent, undo=True)
            try:
                async with asyncio.timeout(step.timeout_s):
                    await undo(self._given(number, step, resources, results, intent, step.progress or {}))
            except _NOT_THE_STEPS:
                raise
            except Exception as error:
                if attempt == step.attempts_max:
                    raise _Failed(step.key, error) from error
                await self._again(number, step, error, attempt)
            else:
                await self._operations.end_step(self._lease, number, step.position, "undone", None, None)
                return

    def _given(
        self,
        number: int,
        step: StepRow,
        resources: Resources,
        results: Mapping[str, Document],
        intent: Document,
        progress: Document,
    ) -> Step[Resources]:
        async def checkpoint(reached: Document, detail: str) -> None:
            await self._operations.checkpoint(self._lease, number, step.position, reached, detail)

        return Step(resources, step.arguments, intent, progress, dict(results), checkpoint)

    async def _again(self, number: int, step: StepRow, error: Exception, attempt: int) -> None:
        _log.warning("step failed, tried again", exc_info=error, extra=_fields(number, step, attempt))
        await self._operations.end_step(self._lease, number, step.position, "again", None, _text(error))
        await self._sleep(PAUSES_S[min(attempt, len(PAUSES_S)) - 1])

    async def _give_up(
        self, number: int, step: StepRow, action: Action[Resources], intent: Document | None, error: Exception
    ) -> Document:
        """The finding. Raises _Failed where the kind makes none of it."""
        _log.error("step failed", exc_info=error, extra=_fields(number, step, step.attempts_max))
        if action.finding is None:
            await self._operations.end_step(self._lease, number, step.position, "failed", None, _text(error))
            raise _Failed(step.key, error) from error
        result = action.finding(step.arguments, intent or {}, error)
        await self._operations.end_step(self._lease, number, step.position, "done", result, _text(error))
        return result

    async def _end(self, number: int, state: State, exit_code: int | None, detail: str | None) -> State:
        await self._operations.end(self._lease, number, state, exit_code, detail and detail[:_DETAIL_MAX])
        return state


def _action(kind: Kind[Resources], step: StepRow) -> Action[Resources]:
    action = kind.actions.get(step.action)
    if action is None:
        raise UnknownKind(f"{kind.name} has no action {step.action}")
    return action


def _text(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:_DETAIL_MAX]


def _fields(number: int, step: StepRow, attempt: int) -> dict[str, Any]:
    return {"operation": number, "step": step.key, "attempt": attempt}
