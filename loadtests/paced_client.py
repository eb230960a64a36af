"""Open-loop load: requests leave at their own times, whether or not the ones before them were answered.

A closed loop sends nothing while the server is slow, so the wait of everybody who would have come in that moment is
missing from its percentiles (coordinated omission). Here each request has a time at which it is due; if every
connection is busy then, it waits for one, and its latency counts from the time when it was due.
"""

import asyncio
from collections import deque
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

from loadtests.raw_client import ConnectionBroken, LoadResult, RequestOf, answer_end

TURN_S = 0.001


async def drive_paced(
    url: str, request_of: RequestOf, *, per_s: float, connections: int, seconds: float, wanted: int
) -> LoadResult:
    """Send `per_s` requests a second, evenly; all of them are waited for. A broken connection ends it with an error."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    loop = asyncio.get_running_loop()
    load = _Load(request_of, wanted, loop.create_future())
    lanes: list[_PacedLane] = []
    for number in range(connections):
        lane = _PacedLane(number, load)
        await loop.create_connection(lambda lane=lane: lane, parts.hostname, parts.port or 80)  # type: ignore[misc]
        lanes.append(lane)
    load.free.extend(lanes)
    began = perf_counter()
    count = round(per_s * seconds)
    try:
        sent = 0
        while sent < count:
            now = perf_counter()
            while sent < count and began + sent / per_s <= now:
                load.come(began + sent / per_s)
                sent += 1
            await asyncio.sleep(TURN_S)
            if load.finished.done():
                break
        load.expect(count)
        await load.finished
        load.result.elapsed_s = perf_counter() - began
    finally:
        for lane in lanes:
            lane.close()
    return load.result


class _Load:
    """Who waits for a connection, which connections wait for a request, and what was answered."""

    def __init__(self, request_of: RequestOf, wanted: int, finished: "asyncio.Future[None]") -> None:
        self.result = LoadResult()
        self.free: deque[_PacedLane] = deque()
        self.finished = finished
        self._request_of = request_of
        self._wanted = wanted
        self._due: deque[float] = deque()
        self._expected: int | None = None

    def come(self, due: float) -> None:
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

    def expect(self, count: int) -> None:
        """That many answers are all."""
        self._expected = count
        self._end_if_complete()

    def fail(self, error: ConnectionBroken) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)

    def _end_if_complete(self) -> None:
        if self._expected == len(self.result.latencies_s) and not self.finished.done():
            self.finished.set_result(None)


class _PacedLane(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, number: int, load: _Load) -> None:
        self._number = number
        self._load = load
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
            self._load.fail(error)
            return
        self._held = held if end is None else b""
        if end is not None:
            self._load.answered(self, self._due, held[:end])

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self._load.fail(ConnectionBroken(f"connection {self._number} ended: {error or 'closed by the server'}"))
