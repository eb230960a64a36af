"""The venue's connection at its edges: ended in the very moment it comes or breaks, written to when it is gone."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import uvloop

from cell.executions.exchange_venue import ExchangeVenue
from cell.executions.report import ExecutionReport
from cell.executions.venue import VenueAway, VenueListener
from exchange.wire import Welcome, encode_message, frame


async def _nothing_received() -> int:
    return 0


async def _ignore(reports: Sequence[ExecutionReport]) -> None:
    pass


LISTENER = VenueListener(
    received_seq=_nothing_received, on_reports=_ignore, on_prices=lambda prices, bands, number: None
)


@pytest.mark.anyio
@pytest.mark.parametrize("is_refused", [True, False])
@pytest.mark.parametrize("turns", range(6))
async def test_a_session_ends_when_it_is_told_to_whatever_happens_in_that_moment(
    turns: int, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncio.wait_for` answered a cancellation with the result that came with it: the session went on for ever."""
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connecting = asyncio.Event()

    async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connecting.set()
        await gate
        raise ConnectionRefusedError if is_refused else TimeoutError

    monkeypatch.setattr(asyncio, "open_connection", connect)
    session = asyncio.create_task(ExchangeVenue("127.0.0.1:1", "cell-1").run(LISTENER))
    await connecting.wait()
    gate.set_result(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    session.cancel()
    done, _ = await asyncio.wait([session], timeout=2.0)
    assert done, "the session did not hear that it was cancelled"
    assert session.cancelled()


@asynccontextmanager
async def _curt_exchange() -> AsyncIterator[str]:
    """Welcomes, and hangs up at the next word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(frame(encode_message(Welcome("one", "log", [], {}, "2026-01-05T15:00:00Z"))))
        await reader.read(1 << 16)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_whoever_writes_into_a_broken_connection_is_told_that_the_venue_is_away() -> None:
    """The loop of the services says RuntimeError of a closed transport, which ended the whole worker."""

    async def scenario() -> None:
        async with _curt_exchange() as address:
            venue = ExchangeVenue(address, "cell-1")
            session = asyncio.create_task(venue.run(LISTENER))
            await venue.wait_connected()
            await venue.reset()
            writers = (venue.cancel(uuid.uuid4(), uuid.uuid4()) for _ in range(20))
            told = await asyncio.gather(*writers, return_exceptions=True)
            assert {type(answer) for answer in told} == {VenueAway}
            session.cancel()
            await asyncio.wait([session])

    uvloop.run(scenario())
