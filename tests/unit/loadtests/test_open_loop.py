"""Requests leave on time, and whoever waits for a slow server is counted as waiting."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from loadtests.measurement.alternation import TURN_S, Target, alternate
from loadtests.measurement.open_loop import drive_paced, paced
from loadtests.measurement.raw_http import ConnectionBroken
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.stub_venue import StubVenue

pytestmark = pytest.mark.anyio

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


def request_of(lane: int, number: int) -> bytes:
    return b"GET /%d/%d HTTP/1.1\r\n\r\n" % (lane, number)


@asynccontextmanager
async def serving(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that calls `answer` for whatever it reads, and leaves no connection open."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.read(4096):
            await answer(writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def test_a_stall_is_in_the_latency_of_all_who_were_due_meanwhile() -> None:
    stalled = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        if not stalled.is_set():
            stalled.set()
            await asyncio.sleep(0.3)
        writer.write(ANSWER)

    async with serving(answer) as url:
        result = await drive_paced(url, request_of, per_s=100.0, connections=1, seconds=0.5, wanted=201)
    assert result.statuses == {201: 50}
    # Thirty were due while the only connection was stalled: a closed loop would have seen one slow request.
    assert sum(latency > 0.01 for latency in result.latencies_s) >= 25
    assert max(result.latencies_s) >= 0.3


async def test_a_broken_connection_ends_the_measurement() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(answer) as url:
        with pytest.raises(ConnectionBroken):
            await drive_paced(url, request_of, per_s=100.0, connections=2, seconds=0.2, wanted=201)


async def test_turns_add_up_and_no_request_is_sent_twice() -> None:
    sent: list[bytes] = []

    def noted(lane: int, number: int) -> bytes:
        sent.append(request_of(lane, number))
        return sent[-1]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)

    async with serving(answer) as url, paced(url, noted, connections=3, wanted=201) as client:
        for _ in range(3):
            await client.drive(per_s=200.0, seconds=0.1)
    assert client.result.statuses == {201: 60}
    assert len(sent) == len(set(sent)) == len(client.result.latencies_s) == 60
    assert client.result.elapsed_s >= 0.25


async def test_what_a_way_adds_is_told_against_the_last_one_and_who_has_a_pid_is_charged() -> None:
    async def at_once(writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)

    async def later(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(ANSWER)

    async with serving(later) as slow, serving(at_once) as quick:
        ways = [Target("slow", slow, request_of), Target("quick", quick, request_of, os.getpid())]
        figures = await alternate(ways, per_s=20.0, seconds=2 * TURN_S, connections=4, wanted=201)
    for label in ("p50", "p99"):
        assert figures[f"slow_added_{label}_ms"] == round(figures[f"slow_{label}_ms"] - figures[f"quick_{label}_ms"], 3)
    assert figures["slow_added_p50_ms"] > 0
    assert "quick_added_p50_ms" not in figures
    assert figures["quick_cpu_us"] >= 0  # the clock of a process ticks every ten milliseconds
    assert "slow_cpu_us" not in figures


async def test_turns_with_wrong_answers_are_no_measurement() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}")

    async with serving(answer) as url:
        with pytest.raises(MeasurementRefused, match="503"):
            await alternate([Target("cell", url, request_of)], per_s=10.0, seconds=TURN_S, connections=1, wanted=201)


async def test_a_connection_that_breaks_after_an_answer_ends_the_measurement() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)
        writer.close()

    async with serving(answer) as url, paced(url, request_of, connections=1, wanted=201) as client:

        async def two_turns() -> None:
            await client.drive(per_s=10.0, seconds=0.1)
            await client.drive(per_s=10.0, seconds=0.1)

        with pytest.raises(ConnectionBroken):  # in a turn or between the two, as the machine will have it
            await two_turns()


async def test_the_stub_venue_acknowledges_and_fills_in_sequence() -> None:
    def frame(body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + body

    async def read(reader: asyncio.StreamReader) -> bytes:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))

    venue = StubVenue({"KO": 1})
    async with venue.listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frame(b'{"t":"hello","session":"c","received":0}'))
        assert b'"welcome"' in await read(reader)
        writer.write(frame(b'{"t":"submit","cl_ord_id":"a","order_qty":5}'))
        accepted = await read(reader)
        assert b'"accepted"' in accepted
        assert b'"seq":1,' in accepted
        assert await venue.fill_all(7) == 1
        filled = await read(reader)
        assert b'"seq":2,' in filled
        assert b'"last_qty":5,"last_px":7' in filled
        writer.close()
        await writer.wait_closed()
