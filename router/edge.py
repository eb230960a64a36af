"""The customers' port: a uvicorn protocol that takes forwarded requests off the ASGI road.

Everything under `/v1` that belongs to a cell goes from the parser straight to a cell's connection and back: no task, no
ASGI messages, no context per request. The router's own few calls (sign-up, tokens, documents) take uvicorn's usual
way to Litestar. Limits are kept while bytes arrive: head, target, body, and the time to send them. A request is
forwarded only when it is complete, so a client that stalls holds nothing of a cell.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from router.errors import BodyTooLarge, HeadTooLarge, RequestMalformed, RouterRefusal
from router.forward import ForwardedRequest, Forwarder
from router.frames import SERVICE_RESTART
from router.headers import RequestHead
from router.limits import Bucket, address_key
from router.request_rules import judge_head
from router.settings import EdgeSettings
from router.target import is_forwarded, is_plain

_UNPARSED_BYTES_MAX: Final = 65_536
_PIECE_BYTES: Final = 16_384  # of what came in one packet, parsed at a time: some hundred of the smallest requests
_FRAMING_FACTOR: Final = 8  # a chunk of one byte takes six on the wire


class _Unhurried:
    """The transport as uvicorn's own requests get it: closing it lets the client read his answer first."""

    def __init__(self, edge: "EdgeProtocol") -> None:
        self.write = edge.transport.write
        self.is_closing = edge.transport.is_closing
        self.close = edge.hang_up


class EdgeProtocol(HttpToolsProtocol):
    """One client connection. uvicorn's pipeline and keep-alive rules hold for both kinds of requests."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        forwarder: Forwarder,
        settings: EdgeSettings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._forwarder = forwarder
        self._settings = settings
        self._in_head = False
        self._arrived_bytes = 0
        self._began_in_chunk = 0
        self._head = RequestHead()
        self._deaf = False
        self.hung_up_at_s = 0.0
        self._unread = b""
        self._taking_turns = False
        self.draining = False
        self.active: ForwardedRequest | None = None
        self.turn: Any = None
        """The request that is being answered: ours (then it is `active` too), or uvicorn's."""
        self.address = ""
        self.address_bucket: Bucket | None = None
        self.closing_since_s = 0.0
        self.reading_since_s = 0.0
        self.idle_since_s = self.loop.time()

    # What the transport tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = address_key(self.client[0]) if self.client else ""
        if not self._forwarder.admit(self, self._settings):
            self._deaf = True
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        active = self.active
        if active is not None and active.upgrade:
            self._to_tunnel(active, data)
            return
        if self._unread or len(data) > _PIECE_BYTES:
            self._unread += data
            self._read_on()
        else:
            self._feed(data)

    def _read_on(self) -> None:
        """Piece by piece, and no further while requests wait for their turn: a packet of small ones would otherwise
        become thousands of objects."""
        while self._unread and not self.pipeline and not self._deaf and not self.flow.write_paused:
            piece, self._unread = self._unread[:_PIECE_BYTES], self._unread[_PIECE_BYTES:]
            active = self.active
            if active is not None and active.upgrade:
                self._to_tunnel(active, piece)
            else:
                self._feed(piece)
        if not self._unread and not self.pipeline and not self.flow.write_paused:
            self.flow.resume_reading()

    def _feed(self, data: bytes) -> None:
        self._began_in_chunk = 0
        if not self.reading_since_s:
            self.reading_since_s = self.loop.time()
            self._in_head = True
            self._arrived_bytes = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Not a WebSocket: served as if no upgrade had been asked for; the connection closes after the answer.
            newest: Any = self.cycle
            if newest.__class__ is ForwardedRequest and newest.upgrade:
                self._to_tunnel(newest, data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse_now(RequestMalformed("not a well-formed HTTP/1.1 request"))
            return
        if self.reading_since_s and self._began_in_chunk < 2:
            # Of a request that began behind others in one chunk it is not known how much of the chunk is its own.
            self._arrived_bytes += len(data)
            if self._in_head and self._arrived_bytes > _UNPARSED_BYTES_MAX:
                self._refuse_now(HeadTooLarge("the head of the request is too large"))
            elif self._arrived_bytes > _UNPARSED_BYTES_MAX + _FRAMING_FACTOR * self._settings.body_bytes_max:
                self._refuse_now(BodyTooLarge("the request has more framing than content"))

    def eof_received(self) -> bool:  # type: ignore[override]
        """Who has said all he has to say may still wait for his answers; who has left cannot be told from him, so a
        write that is only held is given up."""
        active = self.active
        if self._is_ending() or self.turn is None or (active is not None and (active.upgrade or not active.complete)):
            return False
        if active is not None and active.ticket is not None:
            active.ticket.abandon()
        self.cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        active = self.active
        if active is not None:
            active.client_left()
        self._forwarder.dismiss(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.active is not None:
            self.active.pause()
            if self.active.upgrade:
                return
        self.flow.pause_reading()  # who does not read his answers shall not pile them up here by asking on

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.active is not None:
            self.active.resume()
        if self.turn is None:
            self._go_on()

    # What the parser tells.

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True
        self._arrived_bytes = 0
        self._head = RequestHead()
        self._began_in_chunk += 1
        if not self.reading_since_s:
            self.reading_since_s = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nobody here needs one, and none may pass for a header
        name = name.lower()
        value = value.rstrip(b" \t")
        self.headers.append((name, value))
        self._head.take(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser, head = self.parser, self._head
        method, version, takes_over = parser.get_method(), parser.get_http_version(), parser.should_upgrade()
        misread = judge_head(method, self.url, version, head, self._settings, takes_over=takes_over)
        if misread is not None:
            self._refuse_now(misread)
            raise misread  # stops the parser: nothing after this may be read as a request
        refusal: RouterRefusal | None = None
        if not is_forwarded(self.url):
            limit = self._forwarder.limits.identity
            bucket, now_s = limit.bucket(self.address), self.loop.time()
            if limit.take(bucket, now_s):
                self._to_litestar()
                return
            refusal = limit.refusal(bucket, now_s)
        head.drop_named_by_connection()
        keep_alive = version == "1.1" and not takes_over and not self.draining and parser.should_keep_alive()
        request = ForwardedRequest(self, self._forwarder, method, self.url, head, keep_alive=keep_alive)
        if takes_over:
            request.upgrade = method == b"GET" and head.upgrade == b"websocket"
        if refusal is not None:
            request.refusal = refusal
        elif not is_plain(self.url):
            request.refusal = RequestMalformed("the path is not spelled plainly")
        previous: Any = self.cycle
        self.cycle = request  # type: ignore[assignment]
        if previous is None or previous.response_complete:
            self._start(request)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if cycle.__class__ is not ForwardedRequest:
            super().on_body(body)
            return
        cycle.body_bytes += len(body)
        if cycle.body_bytes > self._settings.body_bytes_max:
            refusal = BodyTooLarge(f"a body may have at most {self._settings.body_bytes_max} bytes")
            self._refuse_now(refusal)
            raise refusal
        cycle.body = body if not cycle.body else cycle.body + body

    def on_message_complete(self) -> None:
        self.reading_since_s = 0.0
        cycle: Any = self.cycle
        if cycle.__class__ is not ForwardedRequest:
            super().on_message_complete()
            return
        cycle.complete = True
        if cycle.started:
            cycle.begin()

    @property
    def current(self) -> Any:
        """The newest request of the connection: ours, uvicorn's, or None."""
        return self.cycle

    def _to_tunnel(self, request: ForwardedRequest, data: bytes) -> None:
        if request.tunnel is not None:
            request.tunnel.send(data)
            return
        request.early += data
        if len(request.early) > _UNPARSED_BYTES_MAX:
            self._deaf = True
            self.transport.abort()  # so much before the cell has even agreed

    @property
    def in_head(self) -> bool:
        return self._in_head

    # Turns of the pipeline.

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.turn = cycle
        if cycle.__class__ is ForwardedRequest:
            self._start(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _start(self, request: ForwardedRequest) -> None:
        self.active = self.turn = request
        request.started = True
        if request.complete:
            request.begin()
        elif request.head.expects_continue and self.parser.get_http_version() == "1.1":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_response_complete(self) -> None:
        self.active = self.turn = None
        self.server_state.total_requests += 1
        if self.pipeline or self.flow.read_paused:
            self._go_on()
        else:
            self.idle_since_s = self.loop.time()

    def _go_on(self) -> None:
        if not self._taking_turns:  # a request that ends at once is seen by the loop below, however many follow it
            self._taking_turns = True
            self._take_turns()
            self._taking_turns = False

    def _take_turns(self) -> None:
        while self.pipeline and not self._is_ending() and not self.flow.write_paused:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            if not cycle.response_complete:
                break
        else:
            self.idle_since_s = self.loop.time()
        if self._is_ending() or self.pipeline or self.flow.write_paused:
            return
        if self.reading_since_s:
            self.reading_since_s = self.loop.time()  # until now it was we who did not read on
        if self._unread:
            self.loop.call_soon(self._read_on)
        else:
            self.flow.resume_reading()

    def _is_ending(self) -> bool:
        return bool(self.hung_up_at_s) or self.transport.is_closing()

    # Refusals that end the connection.

    def _refuse_now(self, refusal: RouterRefusal) -> None:
        """Nothing after this is read. What came before is answered first, then the refusal, and the connection ends."""
        if self._deaf:
            return
        self._deaf = True
        self.reading_since_s = 0.0
        newest: Any = self.cycle
        if newest is not None and newest.__class__ is not ForwardedRequest and newest.more_body:
            if newest is self.turn:
                newest.disconnected = True  # its body never comes; Litestar's answer would be about something else
                newest.message_event.set()
                self.hang_up()
                return
            self.pipeline.popleft()
        if newest.__class__ is ForwardedRequest and not newest.complete:
            newest.complete = True
        else:
            newest = ForwardedRequest(self, self._forwarder, b"", b"", RequestHead(), keep_alive=False)
            newest.complete = True
            self.cycle = newest
            if self.turn is not None:
                self.pipeline.appendleft((newest, self.app))
        newest.refusal, newest.keep_alive = refusal, False
        if self.turn is None:
            self._start(newest)
        elif self.active is not None and newest is self.active:
            self.active.begin()

    def hang_up(self) -> None:
        """After the last answer. The client still reads it while what he had sent beyond is taken and dropped: closing
        at once would reset the connection and lose it (`linger_s`)."""
        self._deaf = True
        self._unread = b""
        self.pipeline.clear()
        if self.transport.is_closing():
            return
        self.hung_up_at_s = self.loop.time()
        self.flow.resume_reading()
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.close()  # he is gone already

    def _to_litestar(self) -> None:
        url, headers, head = self.url, self.headers, self._head
        super().on_message_begin()
        self.url, self.expect_100_continue = url, head.expects_continue
        self.headers.extend(header for header in headers if header[0] != b"x-request-id")
        self.headers.append((b"x-request-id", head.request_id or self._forwarder.ids.request_id()))
        super().on_headers_complete()
        self.cycle.transport = _Unhurried(self)  # type: ignore[assignment]
        if self.draining:
            self.cycle.keep_alive = False

    # Draining.

    def shutdown(self) -> None:
        """No more than the request that is being read or answered; a silent connection may still speak for a moment
        (see `sweep_clients`), since a request that is already on its way must not be lost."""
        self.draining = True
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self.idle_since_s = self.loop.time()
        else:
            cycle.keep_alive = False
            tunnel = cycle.tunnel if cycle.__class__ is ForwardedRequest else None
            if tunnel is not None:
                tunnel.leave(SERVICE_RESTART, self._settings.drain_idle_s)


def protocol_factory(forwarder: Forwarder, settings: EdgeSettings) -> Callable[..., EdgeProtocol]:
    """What uvicorn calls for each connection."""

    def make(config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> EdgeProtocol:
        return EdgeProtocol(config, server_state, app_state, _loop, forwarder=forwarder, settings=settings)

    return make


def sweep_clients(clients: "set[EdgeProtocol]", settings: EdgeSettings, now_s: float) -> None:
    """Close who is idle for long and who takes too long to send a request. Called once a second, so that a connection
    needs no timer of its own."""
    for client in [*clients]:
        transport, cycle = client.transport, client.current
        if transport.is_closing():
            client.closing_since_s = client.closing_since_s or now_s
            if now_s - client.closing_since_s > settings.close_s:
                transport.abort()  # its last answer is still not taken
        elif client.hung_up_at_s:
            if now_s - client.hung_up_at_s > settings.linger_s:
                transport.close()
        elif client.reading_since_s and not client.pipeline:  # with a pipeline it is we who do not read on
            limit_s = settings.head_read_s if client.in_head else settings.request_read_s
            if now_s - client.reading_since_s > limit_s:
                transport.abort()
        elif client.active is not None and client.active.tunnel is not None:
            if now_s - client.active.tunnel.moved_s > settings.tunnel_idle_s:
                client.active.tunnel.close()
        elif client.turn is None:
            limit_s = settings.keep_alive_s if cycle is not None else settings.first_byte_s
            if now_s - client.idle_since_s > (settings.drain_idle_s if client.draining else limit_s):
                transport.close()
