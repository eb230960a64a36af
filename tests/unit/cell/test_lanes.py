"""Who is sent when: one user never has more than one command in a batch, and kinds take turns."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from cell.commands.arguments import DepositArguments
from cell.commands.command import Command, CommandKind
from cell.commands.lanes import Lanes, Pending
from infra.runtime.logs import request_ids

pytestmark = pytest.mark.anyio
FLOOD = 20


def add(lanes: Lanes, user: int, kind: CommandKind) -> Pending:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()
    timer = loop.call_later(60, lambda: None)
    timer.cancel()
    pending = Pending(Command(kind, UUID(int=user), "key", b"", DepositArguments(1)), answer, timer, request_ids())
    lanes.add(pending)
    return pending


def send(lanes: Lanes) -> list[int]:
    """One batch, to its end: whose commands were in it."""
    batch = lanes.take_together(64, {})
    assert batch is not None
    for pending in batch.pending:
        lanes.finish(pending)
    return [pending.command.user_id.int for pending in batch.pending]


@pytest.mark.parametrize("kind", CommandKind)
@pytest.mark.parametrize("neighbours", CommandKind)
async def test_a_flood_of_one_kind_holds_up_no_other_for_more_than_a_batch(
    kind: CommandKind, neighbours: CommandKind
) -> None:
    lanes = Lanes()
    for _ in range(FLOOD):
        add(lanes, 1, kind)
    send(lanes)
    add(lanes, 2, neighbours)
    assert any(2 in send(lanes) for _ in range(2))


async def test_floods_of_every_kind_leave_a_turn_to_each() -> None:
    lanes = Lanes()
    for number, kind in enumerate(CommandKind):
        for _ in range(FLOOD):
            add(lanes, 10 + number, kind)
    for _ in range(7):
        send(lanes)
    add(lanes, 2, CommandKind.PLACE)
    batches = [send(lanes) for _ in CommandKind]
    assert sum(2 in users for users in batches) == 1
    assert len({user for users in batches for user in users if user != 2}) == len(CommandKind)


async def test_of_kinds_that_have_waited_as_long_cancels_go_first() -> None:
    lanes = Lanes()
    for number, kind in enumerate(reversed(CommandKind)):
        add(lanes, number, kind)
    kinds = list(reversed(CommandKind))
    assert [kinds[send(lanes)[0]] for _ in kinds] == list(CommandKind)
