"""Connections of cells: frames in, reports out in sequence, from where the cell says it is.

A report reaches this file only when it is durable. The newest ones are kept in a short bounded tail per session; a cell
that is further behind is served from the log. When a cell reads slowly its socket fills, writing pauses, and nothing
piles up here: reports wait on disk, prices are left out. A second connection of a session replaces the first.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol, cast

from exchange.errors import BadFrame
from exchange.log_rows import ReportRow
from exchange.wire import Failure, FrameReader, FromCell, Hello, ToCell, decode_message, encode_message, frame

TAIL_REPORTS_MAX: Final = 8_192
"""Newest reports of a session in memory, about 4 MB; a cell that is further behind is served from the log."""
CHUNK_REPORTS: Final = 512
"""Written to a socket at once; after each chunk the socket may say that it is full."""
SEND_BUFFER_BYTES: Final = 1 << 20
"""Bytes that may wait for a slow cell in memory; the rest waits on disk."""

_log = logging.getLogger(__name__)


class CellVerbs(Protocol):
    """What connections ask of the market."""

    def greet(self, connection: "CellConnection", hello: Hello) -> None:
        """A cell names its session."""
        ...

    def receive(self, connection: "CellConnection", message: FromCell) -> None:
        """A cell asks for something."""
        ...

    def bad_frame(self, connection: "CellConnection", error: BadFrame) -> None:
        """A cell sends what nobody can read."""
        ...

    def part(self, connection: "CellConnection") -> None:
        """The connection is gone."""
        ...


class CellConnection(asyncio.Protocol):
    """One TCP connection of a cell."""

    def __init__(self, verbs: CellVerbs) -> None:
        self._verbs = verbs
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._on_resume: Callable[[], None] | None = None
        self.session: str | None = None
        self.paused = False
        self.missed_prices = False
        self.sent_seq = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so
        self._transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._verbs.part(self)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                # A frame before this one made us close the connection.
                if self._transport is None:
                    return
                self._receive(decode_message(body))
        except BadFrame as error:
            _log.warning("bad frame", extra={"session": self.session, "detail": str(error)})
            self._verbs.bad_frame(self, error)
            self.send(Failure(str(error)))
            self.close()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._on_resume is not None:
            self._on_resume()

    def attach(self, session: str, sent_seq: int, on_resume: Callable[[], None]) -> None:
        """From now on this connection carries the session's reports after `sent_seq`."""
        self.session, self.sent_seq, self._on_resume = session, sent_seq, on_resume

    def send(self, message: ToCell) -> None:
        """Send one message that needs no sequence."""
        self.write(frame(encode_message(message)))

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is gone or going."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def hold_reading(self, hold: bool) -> None:
        """Stop or resume taking requests: the durable log is behind."""
        if self._transport is None or self._transport.is_closing():
            return
        if hold and self._transport.is_reading():
            self._transport.pause_reading()
        elif not hold and not self._transport.is_reading():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close after what was written has left."""
        if self._transport is not None:
            self._transport.close()

    def _receive(self, message: FromCell) -> None:
        if isinstance(message, Hello):
            if self.session is not None:
                raise BadFrame("hello comes once, and first")
            self._verbs.greet(self, message)
        elif self.session is None:
            raise BadFrame("the first frame must be hello")
        else:
            self._verbs.receive(self, message)


class SessionFeed:
    """The durable reports of one session, and the connection that carries them, if any."""

    def __init__(self, session: str, read_log: Callable[[str, int, int], list[ReportRow]]) -> None:
        self._session = session
        self._read_log = read_log
        self._tail: deque[ReportRow] = deque(maxlen=TAIL_REPORTS_MAX)
        self.connection: CellConnection | None = None
        self.durable_seq = 0

    def connect(self, connection: CellConnection, sent_seq: int) -> None:
        """Carry reports over this connection from after `sent_seq`; an older connection is closed."""
        # The cell's new process, or its new connection: the older one is dead or about to be.
        if self.connection is not None and self.connection is not connection:
            self.connection.close()
        self.connection = connection
        connection.attach(self._session, sent_seq, self.pump)

    def release(self, rows: Iterable[ReportRow]) -> None:
        """These are durable now."""
        for row in rows:
            self._tail.append(row)
            self.durable_seq = row.seq
        self.pump()

    def pump(self) -> None:
        """Send until everything is sent or the socket is full."""
        connection = self.connection
        while connection is not None and not connection.paused and connection.sent_seq < self.durable_seq:
            rows = self._next_rows(connection.sent_seq)
            if not rows:
                return
            connection.sent_seq = rows[-1].seq
            connection.write(b"".join([frame(row.body) for row in rows]))

    def _next_rows(self, sent_seq: int) -> list[ReportRow]:
        if self._tail and self._tail[0].seq <= sent_seq + 1:
            start = sent_seq + 1 - self._tail[0].seq
            return [self._tail[at] for at in range(start, min(start + CHUNK_REPORTS, len(self._tail)))]
        rows = self._read_log(self._session, sent_seq, CHUNK_REPORTS)
        return [row for row in rows if row.seq <= self.durable_seq]
