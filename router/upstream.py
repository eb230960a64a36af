"""HTTP/1.1 towards one server of a cell: a connection that carries one request at a time, and a pool of them.

The router exists for this path, so it is our own code: an `asyncio.Protocol` over httptools that calls back instead of
waking tasks (see the README for the measurement against aiohttp). It never retries; it tells its `Sink` exactly what
happened, and whether a byte of an answer had come, so that whoever knows the request can judge what is safe.
"""

import asyncio
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import httptools

from infra.runtime.fair_permits import FairPermits
from router.breaker import Breaker
from router.rendezvous import seed_of
from router.ticking import time_limit

_BUFFERED_BYTES_MAX: Final = 262_144
"""Of an answer that is awaited whole, so that half of it can still become a clean 503. Beyond it memory counts: with
256 requests in flight for each of reads and writes, one cell may fill 128 MiB here."""
_ANSWER_HEAD_BYTES_MAX: Final = 65_536
"""Bytes read without the end of a head: four times what the router takes from a client. More is no answer."""
_STATUS_MAX: Final = 599
"""The highest status of HTTP; what says more is no answer (RFC 9110, 15)."""
_READ_BY_US: Final = frozenset({421, 429, 503})  # the router may act on them instead (`slow_path.py`)


class Sink(Protocol):
    """Whoever asked. Exactly one of `answered`, `broken`, or `stream_began ... stream_ended | broken` is called."""

    def answered(self, connection: "UpstreamConnection") -> None: ...

    def stream_began(self, connection: "UpstreamConnection") -> None: ...

    def stream_chunk(self, connection: "UpstreamConnection", chunk: bytes) -> None: ...

    def stream_ended(self, connection: "UpstreamConnection") -> None: ...

    def broken(self, connection: "UpstreamConnection", why: str) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """One connection. While it is idle or after it broke, `sink` is None."""

    __slots__ = (
        "_chunks",
        "_complete",
        "_excess",
        "_head_bytes",
        "_head_complete",
        "_length",
        "_parser",
        "_streaming",
        "_until_close",
        "body",
        "closed",
        "deadline_s",
        "fresh",
        "headers",
        "idle_since_s",
        "is_slow",
        "permits",
        "reusable",
        "server",
        "sink",
        "started_s",
        "status",
        "transport",
        "whom",
    )

    def __init__(self, server: "UpstreamServer") -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.sink: Sink | None = None
        self.closed = False
        self.fresh = True
        self.idle_since_s = 0.0
        self.started_s = 0.0
        self.deadline_s = 0.0
        self.is_slow = False
        self.permits: FairPermits | None = None
        self.whom = 0
        """The holder of the permit that the request on it has, and of which kind (`fleet.py`)."""
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.reusable = False
        self._chunks: list[bytes] = []
        self._head_bytes = 0
        self._head_complete = False
        self._complete = False
        self._excess = False
        self._streaming = False
        self._length = -1
        self._until_close = False

    def send(self, request: bytes, sink: Sink, *, now_s: float, deadline_s: float) -> None:
        """Begin an exchange. The connection must be idle."""
        assert self.sink is None
        assert self.transport is not None
        if not self.fresh:
            self._reset()
        self.sink = sink
        self.started_s = now_s
        self.deadline_s = deadline_s
        self.server.busy.add(self)
        self.transport.write(request)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """More than one answer, or one that nobody asked for, costs the connection: nothing of it may be taken for the
        next request's answer."""
        if self.sink is None:
            # Whatever it is, the next request's answer would begin with it.
            self.abort("bytes came that nobody asked for")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.abort(f"not an HTTP answer: {type(error).__name__}")
            return
        if self._excess:
            self.abort("more came than one answer")
        elif self._complete:
            self._finish()
        elif self._head_complete:
            self._stream_or_wait()
        else:
            self._head_bytes += len(data)
            if self._head_bytes > _ANSWER_HEAD_BYTES_MAX:
                self.abort("the head of the answer is too large")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.server.forget(self)
        sink = self.sink
        if sink is None:
            return
        # An answer that ends with its connection is whole only if that ended well.
        if self._head_complete and self._until_close and error is None:
            self._complete = True
            self._finish()
            return
        self._break(sink, str(error) if error else "the server closed the connection")

    def abort(self, why: str) -> None:
        """Give the connection up; its sink is told that it broke."""
        if self.transport is not None:
            self.transport.abort()
        self.closed = True
        self.server.forget(self)
        if self.sink is not None:
            self._break(self.sink, why)

    def _break(self, sink: Sink, why: str) -> None:
        self.sink = None
        self.server.busy.discard(self)
        sink.broken(self, why)

    # What the parser tells.

    def on_message_begin(self) -> None:
        self._excess = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete:
            return  # a trailer, or of an answer that nobody asked for
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Raises ValueError, which stops the parser: the cell's answer is none."""
        if self._complete:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        if self.status > _STATUS_MAX:
            raise ValueError("no status of HTTP")
        self._head_complete = True
        if self._length < 0 and self.status not in (204, 304):
            # Neither a length nor chunks: it ends with the connection (RFC 9112 6.3).
            self._until_close = not any(name == b"transfer-encoding" for name, _ in self.headers)

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self.status < 200:  # an interim answer; the real one follows
            head_bytes = self._head_bytes
            self._reset()
            self._head_bytes = head_bytes
            return
        if self._excess:
            return
        self._complete = True
        self.reusable = self._parser.should_keep_alive()

    # What follows from it.

    def _finish(self) -> None:
        sink = self.sink
        assert sink is not None
        self.sink = None
        self.fresh = False
        self.server.busy.discard(self)
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._streaming:
            if body:
                sink.stream_chunk(self, body)
            sink.stream_ended(self)
        else:
            self.body = body
            sink.answered(self)

    def _stream_or_wait(self) -> None:
        """What the router must read itself is awaited whole, and a short answer of known length, so that half of one
        can still become a clean refusal."""
        sink = self.sink
        assert sink is not None
        if not self._streaming:
            if 0 <= self._length <= _BUFFERED_BYTES_MAX:
                return
            if self.status in _READ_BY_US:
                self._chunks = [b"".join(self._chunks)]
                if max(self._length, len(self._chunks[0])) > _BUFFERED_BYTES_MAX:
                    self.abort("a refusal is not that long")
                return
            self._streaming = True
            sink.stream_began(self)
        # Whoever was told that the stream began may have ended it.
        if self._chunks and self.sink is sink:
            chunks, self._chunks = self._chunks, []
            sink.stream_chunk(self, b"".join(chunks))


class UpstreamServer:
    """One address of one cell, its idle connections (last used first) and its breaker."""

    __slots__ = (
        "__weakref__",
        "_connect_timeout_s",
        "_idle",
        "_idle_max_s",
        "_is_gone",
        "breaker",
        "busy",
        "host",
        "host_header",
        "port",
        "seed",
        "url",
    )

    def __init__(self, url: str, *, breaker: Breaker, connect_timeout_s: float, idle_max_s: float) -> None:
        """Raises ValueError for an address that is not plain HTTP."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"not an address the router can speak to: {url}")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or 80
        self.host_header = parts.netloc.encode()
        self.seed = seed_of(url)
        self.breaker = breaker
        self.busy: set[UpstreamConnection] = set()
        self._idle: list[UpstreamConnection] = []
        self._connect_timeout_s = connect_timeout_s
        self._idle_max_s = idle_max_s
        self._is_gone = False

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    def take_idle(self, now_s: float) -> UpstreamConnection | None:
        """A connection that is open and has not been idle for long."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.closed:
                continue
            if now_s - connection.idle_since_s > self._idle_max_s:
                connection.abort("idle for too long")
                continue
            return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection. Raises OSError or TimeoutError; nothing has been sent then."""
        loop = asyncio.get_running_loop()
        async with time_limit(self._connect_timeout_s):
            _, connection = await loop.create_connection(lambda: UpstreamConnection(self), self.host, self.port)
        return connection

    def give_back(self, connection: UpstreamConnection, now_s: float) -> None:
        """Keep it for the next request if it is still good."""
        if connection.reusable and not connection.closed and not self._is_gone:
            connection.idle_since_s = now_s
            self._idle.append(connection)
        elif not connection.closed:
            connection.abort("not to be used again")

    def forget(self, connection: UpstreamConnection) -> None:
        if connection.sink is None and connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now_s: float) -> None:
        """Break what is past its deadline, close what nobody used. Called a few times a second, so that a request
        needs no timer of its own."""
        for connection in [c for c in self.busy if c.deadline_s <= now_s]:
            connection.abort("deadline")
        while self._idle and now_s - self._idle[0].idle_since_s > self._idle_max_s:
            self._idle.pop(0).abort("idle for too long")

    def drop_idle(self) -> None:
        """One that was kept was found broken: the others have rested as long, and a new one costs a millisecond."""
        for connection in list(self._idle):
            connection.abort("another one was found broken")
        self._idle.clear()

    def close(self) -> None:
        """No more idle connections; busy ones end with their request."""
        self._is_gone = True
        self.drop_idle()
