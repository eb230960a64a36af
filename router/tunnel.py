"""A WebSocket: one connection of a cell for one client, bytes passed both ways unread, with back pressure.

When the router goes, or the user's tokens are void, both ends get a close frame, put between two frames (`frames.py`);
a side that is in the middle of one may finish it, within a moment.

How it comes to be: `upgrade.py`. When either end goes, the other is closed; nothing is buffered beyond what the two
sockets hold, and a tunnel takes no permit of a cell's requests but one of a kind of its own.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final, cast

import httptools

from router.answer import DROPPED_FROM_ANSWERS
from router.errors import STATUS_LINES
from router.exchange import Client
from router.frames import Direction

_ANSWER_BYTES_MAX: Final = 262_144
"""Of an answer other than 101: a problem document, with room for what the cell had to say ahead of its frames."""


class Tunnel(asyncio.Protocol):
    """The cell's end. First an answer is read, then bytes are passed."""

    def __init__(self, client: Client, release: Callable[[], None]) -> None:
        """`release` is called once, when the connection to the cell is gone or was never made."""
        self._client = client
        self._has_client = True
        self._ended: Callable[[], None] | None = None
        self._release: Callable[[], None] | None = release
        self._is_lost = False
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_open = False
        self.moved_s = monotonic()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._early = b""
        self._size = 0
        self._from_cell = Direction(masked=False)
        self._from_client = Direction(masked=True)
        self._leaving = False

    # From the cell.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.moved_s = monotonic()
        if self.is_open:
            self._client.write(self._from_cell.passed(data))
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._early = data[upgrade.args[0] :]
            self._finish()
        except httptools.HttpParserError:
            self._give_up("not an HTTP answer")
        if self._size > _ANSWER_BYTES_MAX:
            self._give_up("the answer is too large")

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        self.release_permit()
        self._give_up("the server closed the connection")
        if self.is_open:
            self._end()

    def pause_writing(self) -> None:
        if self.is_open:
            self._client.pause_reading()

    def resume_writing(self) -> None:
        if self.is_open and self._has_client:
            self._client.resume_reading()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.answered.done():
            return
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Raises ValueError, which stops the parser: the cell's answer is none."""
        if not self.answered.done():
            self.status = self._parser.get_status_code()
            if self.status > 599:
                raise ValueError("no status of HTTP")

    def on_body(self, chunk: bytes) -> None:
        self.body += chunk

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self._finish()
        elif self.status != 101:
            self.headers.clear()  # an interim answer; the real one follows

    def _finish(self) -> None:
        if not self.answered.done():
            self.answered.set_result(None)

    def _give_up(self, why: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(ConnectionError(why))
            self.close()

    # From the client.

    def send(self, data: bytes) -> None:
        self.moved_s = monotonic()
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(self._from_client.passed(data) if self.is_open else data)
        if self._leaving and self._from_client.closed:
            self.close()  # the client agrees

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def client_left(self) -> None:
        self._has_client = False
        self.close()

    def close(self) -> None:
        """At once: a cell that does not read would never take what is left."""
        if self._transport is not None:
            self._transport.abort()

    def open(self, early: bytes, ended: Callable[[], None]) -> None:
        """101 has come: pass it on, then what either said ahead (`early`: the client). `ended` is called once, when
        the tunnel is no more."""
        self._ended = ended
        self.is_open = True
        parts = [STATUS_LINES[101], b"connection: upgrade\r\nupgrade: websocket\r\n"]
        parts += [b"%b: %b\r\n" % header for header in self.headers if header[0] not in DROPPED_FROM_ANSWERS]
        parts += [b"\r\n", self._from_cell.passed(self._early)]
        self._client.write(b"".join(parts))
        if early:
            self.send(early)
        if self._is_lost:  # between its answer and now
            self._end()

    def release_permit(self) -> None:
        leave, self._release = self._release, None
        if leave is not None:
            leave()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()

    # What the router says itself.

    def leave(self, code: int, within_s: float) -> None:
        """Send a close frame to both; whoever is in the middle of a frame may finish it until then. Then it ends."""
        if self._leaving or not self.is_open or not self._has_client:
            self.close()
            return
        self._leaving = True
        self._client.write(self._from_cell.end(code))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._from_client.end(code))
        if within_s > 0:
            asyncio.get_running_loop().call_later(within_s, self.close)
        else:
            self.close()
