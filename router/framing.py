"""A client's bytes, read as requests: what httptools tells, and the limits that are kept while bytes arrive.

Head, target and body are bounded, and so is their framing. Whatever two readers could read differently is refused, and
nothing after it is read. What becomes of a request is not decided here: a listener is told.

A head that asks for an upgrade stops httptools behind it. If the listener takes the upgrade, what follows is handed on
unread. Else the request is served in HTTP/1.1 (RFC 9110 7.8): a new parser is given a head of the same framing that
asks for nothing, and the body follows.
"""

from collections.abc import Callable
from typing import Final, Protocol

import httptools

from infra.runtime.http_port import origin_form, with_host
from router.errors import BodyTooLarge, HeadTooLarge, RequestMalformed, RouterRefusal
from router.headers import take_header
from router.request import Request
from router.request_rules import is_websocket, judge_head
from router.settings import EdgeSettings

_HEAD_WIRE_BYTES_MAX: Final = 65_536
"""Of a head with its framing, before it is known to be one: four times what a head may have, for blanks."""
_FRAMING_FACTOR: Final = 8
"""Bytes on the wire for one of a body: a chunk of one byte takes six."""
_THE_PARSERS_OWN: Final = frozenset({b"connection", b"proxy-connection"})
"""httptools obeys these in a trailer too, and would silently read nothing more."""


class RequestListener(Protocol):
    """Who is told what was read. Called while bytes are fed, in the order of the requests."""

    def request_headed(self, request: Request) -> bool:
        """Its head is well-formed, its body may still come. True: its upgrade is taken, and nothing more is parsed."""
        ...

    def request_complete(self, request: Request) -> None: ...

    def request_refused(self, request: Request, refusal: RouterRefusal) -> None:
        """It cannot be read on, so it is the last of its connection. Perhaps it was headed before."""
        ...

    def bytes_upgraded(self, data: bytes) -> None:
        """What came behind a head whose upgrade was taken, in the same piece."""
        ...


class RequestParser:
    """One connection's bytes. Nothing is raised for whatever a client sends: the listener is told."""

    def __init__(self, listener: RequestListener, settings: EdgeSettings, now: Callable[[], float]) -> None:
        self._listener = listener
        self._settings = settings
        self._now = now
        self._http = self._make_parser()
        self._request = Request()
        self._arrived_bytes = 0
        self._begun_in_piece = 0
        self._ignores_upgrade = False
        """The request headed last asks for an upgrade that is not taken: its body is still to come."""
        self._begins_anew = False
        """What httptools reads now is the head that stands for the one it stopped behind."""
        self._is_stopped = False
        self.in_head = False
        self.reading_since_s = 0.0
        """When the request that is being read began; 0 between two requests."""

    def feed(self, data: bytes) -> None:
        """Read one piece. httptools goes through it to the end, or stops: behind an upgrade that is taken (the rest is
        handed on), behind one that is not (a new parser goes on with the rest), or at what is malformed or was refused
        by a callback (the listener is told once). A request that is not whole at the end is then judged by how many
        bytes it has taken on the wire, since framing may be more than content."""
        self._begun_in_piece = 0
        if not self.reading_since_s:
            self.reading_since_s = self._now()
            self.in_head = True
            self._arrived_bytes = 0
        size = len(data)
        try:
            while True:
                try:
                    self._http.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    data = data[upgrade.args[0] :]
                if not self._ignores_upgrade:
                    self._listener.bytes_upgraded(data)
                    return
                self._begin_anew()
        except httptools.HttpParserError:
            self._refuse(RequestMalformed("not a well-formed HTTP/1.1 request"))
            return
        if self.reading_since_s and self._begun_in_piece < 2:
            # Of a request that began behind others in one piece it is not known how much of the piece is its own.
            self._arrived_bytes += size
            if self.in_head and self._arrived_bytes > _HEAD_WIRE_BYTES_MAX:
                self._refuse(HeadTooLarge("the head of the request is too large"))
            elif self._arrived_bytes > _HEAD_WIRE_BYTES_MAX + _FRAMING_FACTOR * self._settings.body_bytes_max:
                self._refuse(BodyTooLarge("the request has more framing than content"))

    def stop(self) -> None:
        """Nothing that comes is read as a request any more, and nobody is late with one."""
        self._is_stopped = True
        self.reading_since_s = 0.0

    def restart_clock(self) -> None:
        """Until now it was the router that did not read on, so the client is not late yet."""
        if self.reading_since_s:
            self.reading_since_s = self._now()

    def _refuse(self, refusal: RouterRefusal) -> None:
        if not self._is_stopped:
            request = Request() if self._request.is_whole else self._request
            self._listener.request_refused(request, refusal)

    def _make_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # Bytes behind a request that closes the connection are no error of its: they are dropped after its answer.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _begin_anew(self) -> None:
        request = self._request
        framing = b"POST / HTTP/1.1\r\n"
        if request.content_length:
            framing += b"content-length: %b\r\n" % request.content_length
        if request.codings:
            framing += b"transfer-encoding: %b\r\n" % request.coding
        if not self._http.should_keep_alive():
            framing += b"connection: close\r\n"
        self._ignores_upgrade = False
        self._begins_anew = True
        self._http = self._make_parser()
        self._http.feed_data(framing + b"\r\n")

    # What httptools tells. Whatever is raised here stops it, and `feed` sees an `HttpParserError`.

    def on_message_begin(self) -> None:
        """Raises ConnectionAbortedError."""
        if self._is_stopped:
            raise ConnectionAbortedError("a request after the last one")
        if self._begins_anew:
            return
        self._request = Request()
        self.in_head = True
        self._arrived_bytes = 0
        self._begun_in_piece += 1
        if not self.reading_since_s:
            self.reading_since_s = self._now()

    def on_url(self, piece: bytes) -> None:
        if not self._begins_anew:
            self._request.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the head, or a trailer, which may not pass for one. Raises RequestMalformed."""
        name = name.lower()
        if self.in_head:
            take_header(self._request, name, value.rstrip(b" \t"))
        elif name in _THE_PARSERS_OWN and not self._begins_anew:  # a trailer: none may pass for a header
            raise RequestMalformed("a trailer may not say what becomes of the connection")

    def on_headers_complete(self) -> None:
        """Judge the head, a second time by its origin form if the target is an absolute one; refuse, or tell the
        listener, and remember whether an upgrade that stops httptools here is taken."""
        if self._begins_anew:
            self._begins_anew = False
            return
        self.in_head = False
        parser, request = self._http, self._request
        request.method, version, upgrades = parser.get_method(), parser.get_http_version(), parser.should_upgrade()
        misread = judge_head(request, version, self._settings)
        if misread is not None and (form := origin_form(request.target)) is not None:
            authority, request.target = form
            request.headers = with_host(request.headers, authority)
            misread = judge_head(request, version, self._settings)
        if misread is not None:
            self._refuse(misread)
            raise misread
        request.keep_alive = version == "1.1" and parser.should_keep_alive()
        if request.expects_continue and version != "1.1":
            request.expects_continue = False
        request.asks_for_websocket = upgrades and is_websocket(request, version)
        is_taken = self._listener.request_headed(request)
        if upgrades:
            self._ignores_upgrade = not is_taken

    def on_body(self, piece: bytes) -> None:
        request = self._request
        if len(request.body) + len(piece) > self._settings.body_bytes_max:
            refusal = BodyTooLarge(f"a body may have at most {self._settings.body_bytes_max} bytes")
            self._refuse(refusal)
            raise refusal
        request.body = piece if not request.body else request.body + piece

    def on_message_complete(self) -> None:
        if self._ignores_upgrade:
            return
        self.reading_since_s = 0.0
        self._request.is_whole = True
        self._listener.request_complete(self._request)
