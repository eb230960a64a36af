"""A client's bytes, read as requests: what httptools tells, and the limits that are kept while bytes arrive.

Head, target and body are bounded, and so is their framing; a packet of many small requests is parsed a piece at a time,
and no further while requests wait for their turn. Whatever two readers could read differently is refused, and nothing
after it is read. What becomes of a request is not decided here but by the connection (`edge.py`).
"""

import asyncio
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from infra.runtime.http_port import HttpPort, origin_form, with_host
from router.errors import BodyTooLarge, HeadTooLarge, RequestMalformed, RouterRefusal
from router.forward import ForwardedRequest
from router.forwarder import Forwarder
from router.headers import RequestHead
from router.request_rules import is_websocket, judge_head
from router.settings import EdgeSettings

_UNPARSED_BYTES_MAX: Final = 65_536
_PIECE_BYTES: Final = 16_384  # of what came in one packet, parsed at a time: some hundred of the smallest requests
_THE_PARSERS_OWN: Final = frozenset({b"connection", b"proxy-connection"})
"""It obeys these in a trailer too, and would silently read nothing more."""
_FRAMING_FACTOR: Final = 8  # a chunk of one byte takes six on the wire


class _Unhurried:
    """The transport as uvicorn's own requests get it: closing it lets the client read his answer first."""

    def __init__(self, edge: "RequestFraming") -> None:
        self.write = edge.transport.write
        self.is_closing = edge.transport.is_closing
        self.close = edge.hang_up


class RequestFraming(HttpPort):
    """The parser's callbacks, for both kinds of requests."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None,
        *,
        forwarder: Forwarder,
        settings: EdgeSettings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._forwarder = forwarder
        self._settings = settings
        self._head = RequestHead()
        self._arrived_bytes = 0
        self._began_in_chunk = 0
        self._unread = b""
        self._deaf = False
        """Nothing that comes is read any more."""
        self.in_head = False
        self.reading_since_s = 0.0
        self.active: ForwardedRequest | None = None
        self.draining = False

    # What the connection does.

    def request_headed(self, method: bytes, *, keeps_alive: bool, upgrade: bool) -> None:
        """The head of a request is read and well-formed. `upgrade`: it asks for a WebSocket as one does."""
        raise NotImplementedError

    def refuse_now(self, refusal: RouterRefusal) -> None:
        """What was read is no request that may be answered, and the end."""
        raise NotImplementedError

    def hang_up(self) -> None:
        raise NotImplementedError

    # What the transport tells.

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
            self.in_head = True
            self._arrived_bytes = 0
        try:
            self.parse(data)
        except httptools.HttpParserError:
            self.refuse_now(RequestMalformed("not a well-formed HTTP/1.1 request"))
            return
        if self.reading_since_s and self._began_in_chunk < 2:
            # Of a request that began behind others in one chunk it is not known how much of the chunk is its own.
            self._arrived_bytes += len(data)
            if self.in_head and self._arrived_bytes > _UNPARSED_BYTES_MAX:
                self.refuse_now(HeadTooLarge("the head of the request is too large"))
            elif self._arrived_bytes > _UNPARSED_BYTES_MAX + _FRAMING_FACTOR * self._settings.body_bytes_max:
                self.refuse_now(BodyTooLarge("the request has more framing than content"))

    # What the parser tells.

    def on_message_begin(self) -> None:
        if self._deaf:
            raise ConnectionAbortedError("a request after the last one")  # stops the parser
        if self.reads_replacement_head:
            return
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.in_head = True
        self._arrived_bytes = 0
        self._head = RequestHead()
        self._began_in_chunk += 1
        if not self.reading_since_s:
            self.reading_since_s = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if not self.in_head:  # a trailer: nobody here needs one, and none may pass for a header
            if name in _THE_PARSERS_OWN and not self.reads_replacement_head:
                raise RequestMalformed("a trailer may not say what becomes of the connection")
            return
        value = value.rstrip(b" \t")
        self.headers.append((name, value))
        self._head.take(name, value)

    def on_headers_complete(self) -> None:
        if self.reads_replacement_head:
            self.reads_replacement_head = False
            return
        self.in_head = False
        parser, head = self.parser, self._head
        method, version, upgrades = parser.get_method(), parser.get_http_version(), parser.should_upgrade()
        misread = judge_head(method, self.url, version, head, self._settings)
        if misread is not None and (form := origin_form(self.url)) is not None:
            authority, self.url = form
            self.headers = with_host(self.headers, authority)
            misread = judge_head(method, self.url, version, head, self._settings)
        if misread is not None:
            self.refuse_now(misread)
            raise misread  # stops the parser: nothing after this may be read as a request
        keeps_alive = version == "1.1" and parser.should_keep_alive()
        self.request_headed(
            method, keeps_alive=keeps_alive, upgrade=upgrades and is_websocket(method, version, self._head)
        )
        if upgrades:
            newest: Any = self.cycle
            self.ignores_upgrade = newest.__class__ is not ForwardedRequest or not newest.upgrade

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if cycle.__class__ is not ForwardedRequest:
            super().on_body(body)
            return
        cycle.body_bytes += len(body)
        if cycle.body_bytes > self._settings.body_bytes_max:
            refusal = BodyTooLarge(f"a body may have at most {self._settings.body_bytes_max} bytes")
            self.refuse_now(refusal)
            raise refusal
        cycle.body = body if not cycle.body else cycle.body + body

    def on_message_complete(self) -> None:
        if self.ignores_upgrade:
            return
        self.reading_since_s = 0.0
        cycle: Any = self.cycle
        if cycle.__class__ is not ForwardedRequest:
            super().on_message_complete()
            cycle.more_body = False  # also if it was answered before its body had come
            return
        cycle.complete = True
        if cycle.started:
            cycle.begin()

    # What is not parsed here.

    def upgraded(self, data: bytes) -> None:
        newest: Any = self.cycle
        self._to_tunnel(newest, data)

    def _to_tunnel(self, request: ForwardedRequest, data: bytes) -> None:
        if request.tunnel is not None:
            request.tunnel.send(data)
            return
        request.early += data
        if len(request.early) > _UNPARSED_BYTES_MAX:
            self._deaf = True
            self.transport.abort()  # so much before the cell has even agreed

    def to_litestar(self, *, keeps_alive: bool) -> None:
        url, headers, head = self.url, self.headers, self._head
        super().on_message_begin()
        self.url, self.expect_100_continue = url, head.expects_continue
        self.headers.extend(header for header in headers if header[0] != b"x-request-id")
        self.headers.append((b"x-request-id", head.request_id or self._forwarder.ids.request_id()))
        super().on_headers_complete()
        self.cycle.transport = _Unhurried(self)  # type: ignore[assignment]
        if self.draining or not keeps_alive:
            self.cycle.keep_alive = False
