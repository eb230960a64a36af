"""Wait for a command's outcome, and turn the ones that concern ownership into their answers.

None of these is ever stored under an idempotency key: the same command may be sent again, here or to the owner.
"""

from cell import errors
from cell.commands.batcher import Batcher
from cell.commands.command import Command, Outcome


async def settled(batcher: Batcher, command: Command) -> Outcome:
    """The database's decision about the command. Raises Problem for 404, 421 and 503."""
    return owned(await batcher.submit(command))


def owned(outcome: Outcome) -> Outcome:
    """The outcome, unless it is that the user is not this cell's, or not now. Raises Problem."""
    problem = errors.not_owned(outcome.outcome, outcome.figures)
    if problem is not None:
        raise problem
    return outcome
