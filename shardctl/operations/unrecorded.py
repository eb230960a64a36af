"""Run the steps of an operation here and now, without the control database: for a leaked key, when that is lost.

The same plan and the same actions as the leader's, under the stack's lock. Nothing is persisted: after an interruption
the command is repeated, and its steps bear that. Nothing fences it against a leader, which needs that database too.
"""

from collections.abc import Mapping

from shardctl.operations.catalog import KINDS
from shardctl.operations.plan import Document, Kind, PlannedStep, Step
from shardctl.operations.resources import StackResources, unfenced_resources
from shardctl.output import print_warning
from shardctl.stack.current import control_dsn, open_stack, stack_clock


async def run_here(kind: str, arguments: Document) -> Mapping[str, Document]:
    """As `run_unrecorded`, on the stack that is meant. Raises NotReachable without a stack."""
    stack = open_stack()
    return await run_unrecorded(
        KINDS[kind], unfenced_resources(stack, stack_clock(stack), control_dsn(stack)), arguments
    )


async def run_unrecorded(
    kind: Kind[StackResources], resources: StackResources, arguments: Document
) -> Mapping[str, Document]:
    """The results of the steps, by their key. Raises what the first step that fails raises."""
    print_warning("not recorded: nobody will find in `shardctl audit list` who did this")
    parsed = kind.parse(arguments)
    results: dict[str, Document] = {}
    for planned in kind.plan(parsed, await kind.observe(resources, parsed)).steps:
        results[planned.key] = await _done(kind, resources, planned, results)
    return results


async def _done(
    kind: Kind[StackResources], resources: StackResources, planned: PlannedStep, results: Mapping[str, Document]
) -> Document:
    async def checkpoint(_: Document, __: str) -> None:
        """Nobody goes on from there."""

    action = kind.actions[planned.action]
    step = Step(resources, planned.arguments, {}, {}, dict(results), checkpoint)
    intent = await action.decide(step) if action.decide else {}
    return await action.act(Step(resources, planned.arguments, intent, {}, dict(results), checkpoint)) or {}
