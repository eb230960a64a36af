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

from router.errors import (
    METHODS,
    BodyTooLarge,
    HeadTooLarge,
    MethodNotAllowed,
    RequestMalformed,
    RouterRefusal,
    TargetTooLong,
    VersionNotSupported,
    render_refusal,
)
from router.forward import ForwardedRequest, Forwarder
from router.headers import RequestHead
from router.limits import Bucket, address_key
from router.settings import EdgeSettings
from router.target import is_forwarded, is_plain

_UNPARSED_BYTES_MAX: Final = 65_536
_FRAMING_FACTOR: Final = 8  # a chunk of one byte takes six on the wire
_METHODS: Final = frozenset(method.encode() for method in METHODS)
_VERSIONS: Final = frozenset({"1.1", "1.0"})


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
        self._head_bytes = 0
        self._refused = False
        self.draining = False
        self.active: ForwardedRequest | None = None
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
            self._refused = True
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        active = self.active
        if active is not None and active.upgrade:
            self._to_tunnel(active, data)
            return
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

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.active is not None:
            self.active.resume()

    # What the parser tells.

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True
        self._arrived_bytes = 0
        self._head_bytes = 0
        self._began_in_chunk += 1
        if not self.reading_since_s:
            self.reading_since_s = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nobody here needs one, and none may pass for a header
        name = name.lower()
        self._head_bytes += len(name) + len(value) + 4
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        misread = self._judge_head()
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
        method = self.parser.get_method()
        head = RequestHead()
        for name, value in self.headers:
            head.take(name, value)
        head.drop_named_by_connection()
        keep_alive = (
            self.parser.should_keep_alive()
            and not self.draining
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
        )
        request = ForwardedRequest(self, self._forwarder, method, self.url, head, keep_alive=keep_alive)
        request.upgrade = self.parser.should_upgrade() and method == b"GET" and head.upgrade == b"websocket"
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
            self._refused = True
            self.transport.abort()  # so much before the cell has even agreed

    @property
    def in_head(self) -> bool:
        return self._in_head

    # Turns of the pipeline.

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if cycle.__class__ is ForwardedRequest:
            self._start(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _start(self, request: ForwardedRequest) -> None:
        self.active = request
        request.started = True
        if request.complete:
            request.begin()
        elif self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_response_complete(self) -> None:
        self.active = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.idle_since_s = self.loop.time()

    # Refusals that end the connection.

    def _judge_head(self) -> RouterRefusal | None:
        settings = self._settings
        if len(self.url) > settings.target_bytes_max:
            return TargetTooLong(f"a request target may have at most {settings.target_bytes_max} bytes")
        if self._head_bytes > settings.head_bytes_max or len(self.headers) > settings.header_count_max:
            return HeadTooLarge(
                f"at most {settings.header_count_max} headers of together {settings.head_bytes_max} bytes"
            )
        if self.parser.get_http_version() not in _VERSIONS:
            return VersionNotSupported("HTTP/1.1 is spoken here")
        if self.parser.get_method() not in _METHODS:
            return MethodNotAllowed("this method is not served")
        if not self.url.startswith(b"/"):
            return RequestMalformed("the request target is not a path")
        return self._judge_framing()

    def _judge_framing(self) -> RouterRefusal | None:
        """The parser has refused most of what two readers could read differently; this is the rest."""
        hosts = encodings = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                if len(value) > 15 or int(value) > self._settings.body_bytes_max:
                    return BodyTooLarge(f"a body may have at most {self._settings.body_bytes_max} bytes")
            elif name == b"transfer-encoding":
                encodings += 1
                if encodings > 1 or value.lower() != b"chunked" or self.parser.get_http_version() != "1.1":
                    return RequestMalformed("the only transfer coding is `chunked`, once, in HTTP/1.1")
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            return RequestMalformed("a request names its host once")
        return None

    def _refuse_now(self, refusal: RouterRefusal) -> None:
        """Answer and close. If an earlier request of this connection is still unanswered the refusal would be taken
        for its answer, so then the connection just closes."""
        if self._refused:
            return
        self._refused = True
        cycle: Any = self.cycle
        own_turn = (
            cycle is None
            or cycle.response_complete
            or (cycle.__class__ is ForwardedRequest and cycle is self.active and not cycle.complete)
        )
        if own_turn and not self.transport.is_closing():
            self.transport.write(render_refusal(refusal, self._forwarder.ids.request_id(), close=True))
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _to_litestar(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(header for header in headers if header[0] != b"x-request-id")
        head = RequestHead()
        for name, value in headers:
            if name == b"x-request-id":
                head.take(name, value)
        self.headers.append((b"x-request-id", head.request_id or self._forwarder.ids.request_id()))
        super().on_headers_complete()
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
                self.loop.call_later(self._settings.drain_idle_s, tunnel.close)


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
        elif client.reading_since_s:
            limit_s = settings.head_read_s if client.in_head else settings.request_read_s
            if now_s - client.reading_since_s > limit_s:
                transport.abort()
        elif client.active is not None and client.active.tunnel is not None:
            if now_s - client.active.tunnel.moved_s > settings.tunnel_idle_s:
                client.active.tunnel.close()
        elif cycle is None or cycle.response_complete:
            limit_s = settings.keep_alive_s if cycle is not None else settings.first_byte_s
            if now_s - client.idle_since_s > (settings.drain_idle_s if client.draining else limit_s):
                transport.close()
