"""Who waits behind whom: each user's commands one after another, the heads of many users together.

The batcher's state and nothing else: no clock, no database, nothing waits here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cell import errors
from cell.commands.command import Command, CommandKind, Outcome
from infra.runtime.logs import RequestIds
from infra.runtime.problem import Problem

POISON_TIMES_MAX: Final = 2
"""Poison commands of a user after which all of that user's are isolated: one may be an accident."""


def not_reached() -> Problem:
    return errors.overloaded("the cell did not get to this in time; nothing was done")


def user_busy() -> Problem:
    return errors.overloaded("the account is busy; nothing was done")


@dataclass(slots=True, eq=False)
class Pending:
    """A command that waits for its answer."""

    command: Command
    answer: asyncio.Future[Outcome]
    timer: asyncio.TimerHandle
    request: RequestIds
    """Whose lines are written by the batcher's task, which works for many requests."""
    tries: int = 0
    in_batch: bool = False
    lost: bool = False
    """A call with it was lost: until its key has an answer, nobody knows whether it was done."""
    if_late: Callable[[], Problem] = not_reached
    """What is true of it if its time ends now."""

    def stay(self, why: Callable[[], Problem]) -> None:
        """It is not, or no longer, at the database."""
        self.if_late = errors.outcome_unknown if self.lost else why


@dataclass(slots=True)
class Batch:
    """Commands that share a call."""

    kind: CommandKind
    pending: list[Pending]
    is_isolated: bool = False
    """One command that waits for its user's lock."""
    sent: bool = False


@dataclass(slots=True)
class Lanes:
    """Who waits behind whom: each user's commands in order, and per kind the users whose head is free to be sent."""

    by_user: dict[UUID, deque[Pending]] = field(default_factory=dict)
    ready: dict[CommandKind, deque[UUID]] = field(default_factory=lambda: {kind: deque() for kind in CommandKind})
    isolated: deque[UUID] = field(default_factory=deque)
    kinds: dict[CommandKind, None] = field(default_factory=lambda: dict.fromkeys(CommandKind))
    """The kinds, whichever was sent longest ago first: a user who sends one kind on and on keeps no other from being
    sent. Of those not sent yet the order is that of service."""
    count: int = 0

    @property
    def free(self) -> int:
        """Heads that could share a batch now."""
        return sum(map(len, self.ready.values()))

    def add(self, pending: Pending) -> None:
        user_id = pending.command.user_id
        lane = self.by_user.get(user_id)
        self.count += 1
        if lane is None:
            self.by_user[user_id] = deque((pending,))
            self.ready[pending.command.kind].append(user_id)
        else:
            lane.append(pending)

    def put_back(self, pending: Pending, *, isolated: bool) -> None:
        """The head has no outcome: it stays the head and is free again."""
        pending.in_batch = False
        if isolated:
            self.isolated.append(pending.command.user_id)
        else:
            self.ready[pending.command.kind].append(pending.command.user_id)

    def finish(self, pending: Pending) -> None:
        """The head is answered: the next of that user is free to be sent."""
        pending.in_batch = False
        user_id = pending.command.user_id
        lane = self.by_user[user_id]
        lane.popleft()
        self.count -= 1
        if lane:
            self.ready[lane[0].command.kind].append(user_id)
        else:
            del self.by_user[user_id]

    def forget(self, pending: Pending) -> None:
        """It is answered before it was sent. A head is noticed when it would be sent."""
        lane = self.by_user[pending.command.user_id]
        if lane[0] is not pending:
            lane.remove(pending)
            self.count -= 1

    def take_together(self, batch_max: int, poison_counts: Mapping[UUID, int]) -> Batch | None:
        for kind in self.kinds:
            users = self.ready[kind]
            heads: list[Pending] = []
            while users and len(heads) < batch_max:
                head = self.by_user[users.popleft()][0]
                if head.answer.done():
                    self.finish(head)
                elif poison_counts and poison_counts.get(head.command.user_id, 0) >= POISON_TIMES_MAX:
                    self.isolated.append(head.command.user_id)
                else:
                    head.in_batch = True
                    heads.append(head)
            if heads:
                del self.kinds[kind]
                self.kinds[kind] = None
                return Batch(kind, heads)
        return None

    def take_isolated(self) -> Batch | None:
        while self.isolated:
            head = self.by_user[self.isolated.popleft()][0]
            if not head.answer.done():
                head.in_batch = True
                return Batch(head.command.kind, [head], is_isolated=True)
            self.finish(head)
        return None
