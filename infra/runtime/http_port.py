"""uvicorn's HTTP/1.1 protocol as every port of ours speaks it: no upgrades, and any form of request target.

Who asks for an upgrade that is not taken is served in HTTP/1.1 (RFC 9110 7.8): stock clients ask for HTTP/2 with every
request they send in the clear, bodies included. The parser stops behind the head of such a request, and uvicorn alone
would lose its body and whatever follows. Here a new parser begins, with a head of the same framing that asks for
no upgrade, so the connection stays in step. What is not well-formed ends in 400 and closes the connection.
"""

import re
from collections.abc import Iterable
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@\\]+)(/.*|\?.*)?", re.IGNORECASE | re.DOTALL)
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


def origin_form(target: bytes) -> tuple[bytes, bytes] | None:
    """Authority and path of an absolute request target (RFC 9112 3.2.2). None: it is not one, or names a user."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        return None
    path = found[2] or b"/"
    return found[1], path if path.startswith(b"/") else b"/" + path


def with_host(headers: Iterable[tuple[bytes, bytes]], authority: bytes) -> list[tuple[bytes, bytes]]:
    """The target's authority replaces the client's Host."""
    return [(name, authority if name == b"host" else value) for name, value in headers]


class HttpPort(HttpToolsProtocol):
    """One client connection."""

    ignores_upgrade = False
    """The request whose head was read last asks for an upgrade that is not taken: its body is still to come."""
    reads_replacement_head = False
    """The parser reads the head that stands for the one behind which its predecessor stopped."""

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def parse(self, data: bytes) -> None:
        """Raises httptools.HttpParserError."""
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            if not self.ignores_upgrade:
                self.upgraded(data)
                return
            self._replace_parser()

    def upgraded(self, data: bytes) -> None:
        """An upgrade was taken; these bytes follow it."""
        raise NotImplementedError

    def _replace_parser(self) -> None:
        framing = [b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING]
        if not self.parser.should_keep_alive():
            framing.append(b"connection: close\r\n")
        self.ignores_upgrade = False
        self.reads_replacement_head = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))

    # Callbacks of the parser.

    def on_headers_complete(self) -> None:
        """Raises ValueError, which stops the parser: the request is answered 400."""
        if self.reads_replacement_head:
            self.reads_replacement_head = False
            return
        if not self.url.startswith(b"/"):
            form = origin_form(self.url)
            if form is None:
                raise ValueError("the request target is neither a path nor an address")  # stops the parser
            authority, self.url = form
            self.headers[:] = with_host(self.headers, authority)
        super().on_headers_complete()
        self.ignores_upgrade = self.parser.should_upgrade()

    def on_message_complete(self) -> None:
        if not self.ignores_upgrade:
            super().on_message_complete()
