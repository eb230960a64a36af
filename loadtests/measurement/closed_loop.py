"""The cheapest HTTP client that can still be believed: an asyncio.Protocol per keep-alive connection, requests as
bytes.

For measurements only. Each connection has one request on its way; the next goes out in the same callback that read
the answer: a closed loop, for how much a server can do. How long one waits at a given rate `open_loop` tells.
Nothing is retried and no status is hidden: the result counts all of them, and a connection that breaks ends the
measurement with an error, for a rate measured over failures means nothing.
"""

import asyncio
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

from loadtests.measurement.load_result import LoadResult, RequestOf
from loadtests.measurement.raw_http import ConnectionBroken, answer_end


async def drive(url: str, request_of: RequestOf, *, connections: int, seconds: float, wanted: int) -> LoadResult:
    """Send for `seconds` over that many connections; answers in flight at the end are waited for and counted."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    loop = asyncio.get_running_loop()
    result = LoadResult()
    lanes: list[_Lane] = []
    for number in range(connections):
        lane = _Lane(number, request_of, result, wanted, loop.create_future())
        await loop.create_connection(lambda lane=lane: lane, parts.hostname, parts.port or 80)  # type: ignore[misc]
        lanes.append(lane)
    began = perf_counter()
    for lane in lanes:
        lane.start(began + seconds)
    try:
        await asyncio.gather(*(lane.finished for lane in lanes))
        result.elapsed_s = perf_counter() - began
    finally:
        for lane in lanes:
            lane.close()
    return result


class _Lane(asyncio.Protocol):
    """One connection: send, read to the end of the answer, note, send the next."""

    def __init__(
        self,
        number: int,
        request_of: RequestOf,
        result: LoadResult,
        wanted: int,
        finished: asyncio.Future[None],
    ) -> None:
        self.finished = finished
        self._number = number
        self._request_of = request_of
        self._result = result
        self._wanted = wanted
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._sent = 0
        self._sent_at = 0.0
        self._stop_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass

    def start(self, stop_at: float) -> None:
        self._stop_at = stop_at
        self._send(perf_counter())

    def close(self) -> None:
        if not self.finished.done():
            self.finished.cancel()
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        try:
            end = answer_end(held)
        except ConnectionBroken as error:
            self._fail(error)
            return
        if end is None:
            self._held = held
            return
        now = perf_counter()
        status = int(held[9:12])
        self._result.latencies_s.append(now - self._sent_at)
        self._result.statuses[status] += 1
        if status != self._wanted and self._result.first_bad is None:
            self._result.first_bad = held[:end].decode("utf-8", "replace")
        self._held = b""
        if now < self._stop_at:
            self._send(now)
        elif not self.finished.done():
            self.finished.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionBroken(f"connection {self._number} ended: {error or 'closed by the server'}"))

    def _send(self, now: float) -> None:
        assert self._transport is not None
        self._sent_at = now
        self._transport.write(self._request_of(self._number, self._sent))
        self._sent += 1

    def _fail(self, error: ConnectionBroken) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)
