"""One client's connection: whose turn it is, when it is listened to, and how it ends.

What the parser reads (`framing.py`) becomes exchanges, by a function that `app.py` hands in; they are answered one by
one, in order. An exchange begins only when its request is whole, so a client that stalls holds nothing of a cell. A
packet of many small requests is parsed a piece at a time, and no further while requests wait for their turn or the
client does not take its answers.

No task and no timer of its own: everything is a callback of the transport, of an exchange or of the sweep.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from router.client_registry import ClientRegistry
from router.errors import RouterRefusal
from router.exchange import Client, Exchange
from router.framing import RequestParser
from router.limits import TokenBucket, address_key
from router.request import Request
from router.settings import EdgeSettings

_PIECE_BYTES: Final = 16_384
"""Of what came in one packet, parsed at a time: some hundred of the smallest requests."""

OpenExchange = Callable[[Client, Request], Exchange]
OpenRefusal = Callable[[Client, Request, RouterRefusal], Exchange]


class ClientConnection(asyncio.Protocol):
    """A protocol of asyncio, the listener of its parser, and the `Client` of its exchanges."""

    write: Callable[[bytes], None]
    """The transport's own, so that an answer costs no call more."""

    def __init__(
        self,
        registry: ClientRegistry,
        settings: EdgeSettings,
        *,
        open_exchange: OpenExchange,
        open_refusal: OpenRefusal,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._open_exchange = open_exchange
        self._open_refusal = open_refusal
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self, settings, self._loop.time)
        self._unread = b""
        """What came and is not parsed yet."""
        self._is_deaf = False
        """Whatever comes is dropped."""
        self._reading_paused = False
        self._has_asked = False
        self._taking_turns = False
        self._hung_up_at_s = 0.0
        self._closing_since_s = 0.0
        self._idle_since_s = self._loop.time()
        self.active: Exchange | None = None
        """Whose turn it is. Its body may still come."""
        self.pipeline: deque[Exchange] = deque()
        """Those after it."""
        self.address = ""
        self.token_bucket: TokenBucket | None = None
        self.draining = False
        self.write_paused = False

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        peer = transport.get_extra_info("peername")
        self.address = address_key(str(peer[0])) if isinstance(peer, tuple) else ""
        # Too many, of this address or in all: refused without a word, which costs least.
        if not self._registry.admit(self):
            self._stop_listening()
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        active = self.active
        if active is not None and active.takes_bytes:
            active.receive(data)
        elif self._unread or len(data) > _PIECE_BYTES:
            self._unread += data
            self._read_on()
        else:
            self._parser.feed(data)

    def eof_received(self) -> bool:
        """Whoever has said all it has to say may still wait for its answers. True: the connection stays open."""
        active = self.active
        if self._is_ending() or active is None or active.takes_bytes or not active.request.is_whole:
            return False
        active.client_half_closed()
        newest = self._newest
        if newest is not None:
            newest.request.keep_alive = False
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_listening()
        self._registry.dismiss(self)
        if self.active is not None:
            self.active.client_left()

    def pause_writing(self) -> None:
        self.write_paused = True
        active = self.active
        if active is not None:
            active.pause()
            # A tunnel pauses its cell; what its client says still goes on.
            if active.takes_bytes:
                return
        self.pause_reading()  # who does not read its answers shall not pile them up here by asking on

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.active is not None:
            self.active.resume()
        else:
            self._go_on()

    # What the parser tells.

    def request_headed(self, request: Request) -> bool:
        self._has_asked = True
        if self.draining:
            request.keep_alive = False
        exchange = self._open_exchange(self, request)
        if self.active is None and not self.pipeline:
            self._start(exchange)
        else:
            self.pause_reading()
            self.pipeline.append(exchange)
        return exchange.takes_bytes

    def request_complete(self, request: Request) -> None:
        active = self.active
        if active is not None and active.request is request:
            active.begin()

    def request_refused(self, request: Request, refusal: RouterRefusal) -> None:
        """Nothing after this is read. What came before is answered first, then the refusal, and the connection ends."""
        self._stop_listening()
        request.is_whole, request.keep_alive = True, False
        refused = self._open_refusal(self, request, refusal)
        newest = self._newest
        if newest is not None and newest.request is request:  # headed before: it is refused in its place
            if self.pipeline:
                self.pipeline.pop()
            else:
                self.active = None
        if self.active is None and not self.pipeline:
            self._start(refused)
        else:
            self.pipeline.append(refused)

    def bytes_upgraded(self, data: bytes) -> None:
        newest = self._newest
        if newest is not None:
            newest.receive(data)

    # What an exchange asks for (`Client`).

    def pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        self._stop_listening()
        self.transport.abort()

    def finished(self, request: Request) -> None:
        if not request.keep_alive:
            self._hang_up()
        self.active = None
        if self.pipeline or self._reading_paused:
            self._go_on()
        else:
            self._idle_since_s = self._loop.time()

    # Turns.

    @property
    def _newest(self) -> Exchange | None:
        """Whose head was read last, unless it is answered."""
        return self.pipeline[-1] if self.pipeline else self.active

    def _start(self, exchange: Exchange) -> None:
        self.active = exchange
        request = exchange.request
        if request.is_whole:
            exchange.begin()
        elif request.expects_continue:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _go_on(self) -> None:
        if not self._taking_turns:  # a request that ends at once is seen by the loop below, however many follow it
            self._taking_turns = True
            self._take_turns()
            self._taking_turns = False

    def _take_turns(self) -> None:
        """Start whoever is next, until one of them has to wait; with nobody left, listen again."""
        while self.active is None and self.pipeline and not self._is_ending() and not self.write_paused:
            self._start(self.pipeline.popleft())
        if self.active is None:
            self._idle_since_s = self._loop.time()
        if self._is_ending() or self.pipeline or self.write_paused:
            return
        self._parser.restart_clock()
        if self._unread:
            # Not at once: a packet of thousands of requests must let other clients have their turn.
            self._loop.call_soon(self._read_on)
        else:
            self.resume_reading()

    def _read_on(self) -> None:
        """Piece by piece, and no further while requests wait for their turn: a packet of small ones would otherwise
        become thousands of objects."""
        while self._unread and not self.pipeline and not self._is_deaf and not self.write_paused:
            piece, self._unread = self._unread[:_PIECE_BYTES], self._unread[_PIECE_BYTES:]
            active = self.active
            if active is not None and active.takes_bytes:
                active.receive(piece)
            else:
                self._parser.feed(piece)
        if not self._unread and not self.pipeline and not self.write_paused:
            self.resume_reading()

    # The end.

    def _is_ending(self) -> bool:
        return bool(self._hung_up_at_s) or self.transport.is_closing()

    def _stop_listening(self) -> None:
        self._is_deaf = True
        self._unread = b""
        self._parser.stop()

    def _hang_up(self) -> None:
        """After the last answer. The client still reads it while what it had sent beyond is taken and dropped: closing
        at once would reset the connection and lose it (`linger_s`)."""
        self._stop_listening()
        self.pipeline.clear()
        if self.transport.is_closing():
            return
        self._hung_up_at_s = self._loop.time()
        self.resume_reading()
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.close()  # the client is gone already

    def drain(self) -> None:
        """No more than the request that is being read or answered; a silent connection may still speak for a moment
        (see `sweep`), since a request that is already on its way must not be lost."""
        self.draining = True
        newest = self._newest
        if newest is None:
            self._idle_since_s = self._loop.time()
            return
        newest.request.keep_alive = False
        if newest is self.active:
            newest.drain()

    def sweep(self, now_s: float) -> None:
        """Close a client that is idle for long, takes too long to send a request, or does not take its last answer.

        The first state that it is in decides: closing, hung up, sending a request, being answered (then the exchange
        judges), idle. While requests wait in the pipeline nobody is late with sending: it is we who do not read.
        """
        transport, settings, parser = self.transport, self._settings, self._parser
        if transport.is_closing():
            self._closing_since_s = self._closing_since_s or now_s
            if now_s - self._closing_since_s > settings.close_s:
                transport.abort()
        elif self._hung_up_at_s:
            if now_s - self._hung_up_at_s > settings.linger_s:
                transport.close()
        elif parser.reading_since_s and not self.pipeline:  # with a pipeline it is we who do not read on
            limit_s = settings.head_read_s if parser.in_head else settings.request_read_s
            if now_s - parser.reading_since_s > limit_s:
                transport.abort()
        elif self.active is not None:
            self.active.sweep(now_s)
        else:
            limit_s = settings.keep_alive_s if self._has_asked else settings.first_byte_s
            if now_s - self._idle_since_s > (settings.drain_idle_s if self.draining else limit_s):
                transport.close()
