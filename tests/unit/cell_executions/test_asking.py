"""Silence about one order holds up no answer about another, in its page or behind it."""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest

from cell.executions.asking import Answers, ask_about
from cell.executions.venue import VenueOrder, VenueSilent

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Item:
    number: int
    order: VenueOrder


def item(number: int, order_id: UUID | None = None) -> Item:
    order_id = order_id or uuid4()
    return Item(number, VenueOrder(order_id, uuid4(), None, "AAPL", "buy", "limit", "day", 1, 1))


class Questions:
    """Answers at once, but not about silent orders: of those it says nothing until it is told to."""

    def __init__(self, silent: set[UUID]) -> None:
        self.silent = silent
        self.given_up = asyncio.Event()

    async def ask(self, order_id: UUID, user_id: UUID) -> bool:
        if order_id in self.silent:
            await self.given_up.wait()
            raise VenueSilent("nothing")
        return True


async def test_answers_are_dealt_with_while_others_are_silent() -> None:
    silent = item(0)
    pages = [[silent, item(1)], [item(2)], [item(3)]]
    dealt: list[tuple[int, bool | None]] = []
    questions = Questions({silent.order.order_id})

    async def next_page() -> list[Item]:
        return pages.pop(0) if pages else []

    async def deal(items: list[Item], answers: Answers) -> None:
        dealt.extend((one.number, answers[one.order.order_id]) for one in items)
        if len(dealt) == 3:  # everything but the silent one; only now its time is over
            assert [number for number, _ in dealt] == [1, 2, 3]
            questions.given_up.set()

    async with asyncio.timeout(30):
        await ask_about(questions, next_page, deal)
    assert dealt[3:] == [(0, None)]


async def test_what_there_is_about_one_order_is_dealt_with_in_order() -> None:
    order_id = uuid4()
    pages = [[item(1, order_id)], [item(2), item(3, order_id)]]
    questions = Questions({order_id})
    dealt: list[int] = []

    async def next_page() -> list[Item]:
        if not pages:
            questions.given_up.set()
        return pages.pop(0) if pages else []

    async def deal(items: list[Item], answers: Answers) -> None:
        dealt.extend(one.number for one in items)

    await ask_about(questions, next_page, deal)
    assert dealt == [2, 1, 3]
