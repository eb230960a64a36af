"""Open-loop load: requests leave at their own times, whether or not the ones before them were answered.

A closed loop sends nothing while the server is slow, so the wait of everybody who would have come in that moment is
missing from its percentiles (coordinated omission). Here each request has a time at which it is due; if every
connection is busy then, it waits for one, and its latency counts from the time when it was due.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

from loadtests.measurement.load_result import LoadResult, RequestOf
from loadtests.measurement.raw_http import ConnectionBroken, answer_end

TICK_S = 0.001
"""Between two looks at what is due: a request leaves at most so much late, which counts as its latency."""


async def drive_paced(
    url: str, request_of: RequestOf, *, per_s: float, connections: int, seconds: float, wanted: int
) -> LoadResult:
    """Send `per_s` requests a second, evenly; all of them are waited for. A broken connection ends it with an error."""
    async with paced(url, request_of, connections=connections, wanted=wanted) as client:
        await client.drive(per_s=per_s, seconds=seconds)
    return client.result


@asynccontextmanager
async def paced(url: str, request_of: RequestOf, *, connections: int, wanted: int) -> AsyncIterator["PacedClient"]:
    """Connections to one server, for one turn or many. What all turns bring adds up in one result."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    loop = asyncio.get_running_loop()
    client = PacedClient(request_of, wanted)
    try:
        for number in range(connections):
            lane = _PacedLane(number, client)
            client.lanes.append(lane)
            await loop.create_connection(lambda lane=lane: lane, parts.hostname, parts.port or 80)  # type: ignore[misc]
        client.free.extend(client.lanes)
        yield client
    finally:
        for lane in client.lanes:
            lane.close()


class PacedClient:
    """Who waits for a connection, which connections wait for a request, and what was answered."""

    def __init__(self, request_of: RequestOf, wanted: int) -> None:
        self.result = LoadResult()
        self.lanes: list[_PacedLane] = []
        self.free: deque[_PacedLane] = deque()
        self._request_of = request_of
        self._wanted = wanted
        self._due: deque[float] = deque()
        self._expected: int | None = None
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def drive(self, *, per_s: float, seconds: float) -> None:
        """One turn: that many a second, and the answers to all of them."""
        finished = self._finished  # made before the turn: a connection may have broken since the last one
        began = perf_counter()
        count = round(per_s * seconds)
        answered = len(self.result.latencies_s)
        sent = 0
        while sent < count and not finished.done():
            now = perf_counter()
            while sent < count and began + sent / per_s <= now:
                self._come(began + sent / per_s)
                sent += 1
            await asyncio.sleep(TICK_S)
        self._expected = answered + count
        self._end_if_complete()
        await finished
        self._finished, self._expected = asyncio.get_running_loop().create_future(), None
        self.result.elapsed_s += perf_counter() - began

    def _come(self, due: float) -> None:
        """A request is due."""
        if self.free:
            self.free.popleft().send(self._request_of, due)
        else:
            self._due.append(due)

    def answered(self, lane: "_PacedLane", due: float, answer: bytes) -> None:
        status = int(answer[9:12])
        self.result.latencies_s.append(perf_counter() - due)
        self.result.statuses[status] += 1
        if status != self._wanted and self.result.first_bad is None:
            self.result.first_bad = answer.decode("utf-8", "replace")
        if self._due:
            lane.send(self._request_of, self._due.popleft())
        else:
            self.free.append(lane)
        self._end_if_complete()

    def fail(self, error: ConnectionBroken) -> None:
        if not self._finished.done():
            self._finished.set_exception(error)

    def _end_if_complete(self) -> None:
        if self._expected == len(self.result.latencies_s) and not self._finished.done():
            self._finished.set_result(None)


class _PacedLane(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, number: int, client: PacedClient) -> None:
        self._number = number
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._sent = 0
        self._due = 0.0
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request_of: RequestOf, due: float) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(request_of(self._number, self._sent))
        self._sent += 1

    def close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        held = self._held + data
        try:
            end = answer_end(held)
        except ConnectionBroken as error:
            self._client.fail(error)
            return
        self._held = held if end is None else b""
        if end is not None:
            self._client.answered(self, self._due, held[:end])

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self._client.fail(ConnectionBroken(f"connection {self._number} ended: {error or 'closed by the server'}"))
