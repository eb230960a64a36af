"""Long work reports as it goes, and ends when nobody wants it any more."""

import asyncio
from typing import Any

import pytest

from infra.backends.backend import Phase, Report
from infra.backends.backend import Step as Progress
from shardctl.operations.errors import CancelAsked
from shardctl.operations.kinds import reported as module
from shardctl.operations.kinds.reported import reported
from shardctl.operations.plan import Document, Step

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.01)


class Seen:
    """The step's checkpoints; `refuse`: the next one says that somebody cancelled."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuse = False
        self.changed = asyncio.Event()

    async def checkpoint(self, _: Document, detail: str) -> None:
        if self.refuse:
            raise CancelAsked
        self.told.append(detail)
        self.changed.set()


def step(seen: Seen) -> Step[Any]:
    return Step(None, {}, {}, {}, {}, seen.checkpoint)


async def test_the_last_report_is_persisted_and_the_result_returned() -> None:
    seen = Seen()

    async def work(report: Report) -> int:
        report(Progress("cell-1 backup", Phase.START, "copied 10 %"))
        await seen.changed.wait()
        return 7

    assert await reported(step(seen), work) == 7
    assert set(seen.told) <= {"begun", "cell-1 backup copied 10 %"}


async def test_a_cancellation_ends_the_work_before_it_is_told() -> None:
    seen = Seen()
    seen.refuse = True
    ended = False

    async def work(_: Report) -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    with pytest.raises(CancelAsked):
        await reported(step(seen), work)
    assert ended


async def test_what_the_work_raises_goes_through() -> None:
    async def work(_: Report) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await reported(step(Seen()), work)
