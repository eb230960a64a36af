"""A request that is answered by a cell, whole or as a stream.

The usual case runs in callbacks without a task: a known route, an idle connection, a whole answer. Everything else is
the slow path, which `app.py` hands in (`slow_path.py`). A request has one deadline from when it was whole: whatever it
waits for here is taken from what the cell is given (`budget.py`), and when nothing is left it is not sent.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from router.answer import write_answer_head
from router.budget import budget_ms
from router.cell_exchange import CellExchange
from router.errors import CellOverloaded, RouterRefusal
from router.exchange import Client
from router.headers import write_request
from router.hold import Waiter, read_halted
from router.kinds import Kind, kind_of
from router.misroute import hint_was_wrong
from router.request import Request
from router.services import Services
from router.upstream import UpstreamConnection

_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_STREAM_STALL_S: Final = 30.0
"""Without a piece of a streamed answer passed on: longer than a cell pauses or a phone's network changes; then whoever
is to blame, cell or client, is let go."""

SlowPath = Callable[["Forwarding", str | None], None]
"""Begins what is not the usual case. With an answer of 421, with what broke, or with nothing sent yet (None)."""


class Forwarding(CellExchange):
    """Also the sink of its connection to the cell (`upstream.Sink`)."""

    # What most requests never change stays with the class: one is made for every request.
    connection: UpstreamConnection | None = None
    kind = Kind.READ
    streaming = False
    waiter: Waiter | None = None
    unanswered = False
    """It was sent, and what became of that nobody has heard."""
    _chunked = False
    _waiter: asyncio.Future[str | None] | None = None

    def __init__(self, client: Client, services: Services, request: Request, slow_path: SlowPath) -> None:
        super().__init__(client, services, request)
        self._slow_path = slow_path

    @property
    def is_repeatable(self) -> bool:
        """Sent twice it does no harm: a read, or it carries an idempotency key."""
        return self.request.method in _SAFE or self.request.has_key

    @property
    def is_safe(self) -> bool:
        return self.request.method in _SAFE

    # To the cell.

    def forward(self, now_s: float) -> None:
        """Admitted once, at the first cell: what was let in is not shed by another cell's rate after a 421."""
        route, lines, request = self.route, self.services.holding.queues, self.request
        self.kind = kind = kind_of(request.method, request.target)
        whom = route.user_id.int
        if not route.cell.admission.admits(kind, whom, now_s):
            self.refuse(CellOverloaded("the cell gets as many requests of this kind as it may have; nothing was done"))
            return
        if lines and route.user_id in lines and request.method not in _SAFE:
            self._hold()
            return
        connection = route.cell.take_ready(now_s, kind, whom)
        if connection is None:
            self._slow_path(self, None)
        else:
            self.send(connection, now_s)

    def _hold(self) -> None:
        """Earlier writes of the user are held, so this one waits behind them."""
        try:
            self.wait_behind_others()
        except RouterRefusal as refusal:
            self.refuse(refusal)
        else:
            self._slow_path(self, None)

    def wait_behind_others(self) -> None:
        """Wait with the user's other requests. Raises `UserHalted` if there is no room."""
        self.waiter = self.services.holding.enqueue(self.route.user_id, self.request.received_s, self.budget_s)

    def send(self, connection: UpstreamConnection, now_s: float) -> None:
        request = self.request
        self.connection = connection
        written = write_request(
            method=b"GET" if request.method == b"HEAD" else request.method,  # the same answer; its body ends here
            target=request.target,
            host=connection.server.host_header,
            route_token=self.route.token,
            request_id=request.request_id,
            trace=request.trace,
            budget_ms=self._budget_ms(now_s),
            passed=request.passed,
            body=request.body,
        )
        connection.send(written, self, now_s=now_s, deadline_s=self.deadline_s)

    def _budget_ms(self, now_s: float) -> bytes:
        if now_s == self.request.received_s:
            # The usual case: nothing was waited for, and the whole budget is written already.
            return self.services.whole_budget_ms
        return budget_ms(self.deadline_s, now_s)

    async def ask(self, connection: UpstreamConnection) -> str | None:
        """Send and wait. None: a whole answer is in `connection`, or its stream has begun. Else why it broke."""
        self._waiter = asyncio.get_running_loop().create_future()
        self.send(connection, monotonic())
        try:
            return await self._waiter
        finally:
            self._waiter = None

    # What the connection to the cell tells.

    def answered(self, connection: UpstreamConnection) -> None:
        if self._waiter is not None:
            self._waiter.set_result(None)
        elif connection.status > 403 and self._is_no_answer(connection):
            self._slow_path(self, None)
        else:
            self.deliver(connection)

    def _is_no_answer(self, connection: UpstreamConnection) -> bool:
        """The cell is not the owner, or not now: the customer's answer is another cell's, or a later one."""
        status, body = connection.status, connection.body
        return status == 421 or read_halted(status, body) is not None or hint_was_wrong(self.route, status, body)

    def broken(self, connection: UpstreamConnection, why: str) -> None:
        """In the middle of a stream there is nothing left to say: the client is cut off, and the cell is blamed unless
        the client did not take what came. Before any answer the slow path judges what may be done."""
        if self.streaming:
            cell, now_s = self.route.cell, monotonic()
            if self.disconnected or self.client.write_paused:  # it was the client who did not take it
                cell.figures.answered(connection.status, now_s - self.request.received_s)
                cell.give_back(connection, now_s)
            else:
                cell.figures.answered(500, now_s - self.request.received_s)
                cell.lose(connection, now_s)
            self.end(abort=True)
        elif self._waiter is not None:
            self._waiter.set_result(why)
        else:
            self._slow_path(self, why)

    def stream_began(self, connection: UpstreamConnection) -> None:
        """The answer is too long to wait for, or of unknown length. It is passed on with the length that it declares,
        else in chunks, else (a client of HTTP/1.0) until the connection ends."""
        self.streaming = True
        declared = any(name == b"content-length" for name, _ in connection.headers)
        self._chunked = not declared and self.request.keep_alive
        if not declared and not self._chunked:
            self.request.keep_alive = False
        if not self.disconnected:
            self.client.write(b"".join(self._answer_head(connection, monotonic(), None)))
            if self.client.write_paused:  # the answer before this one is not taken yet
                self.pause()
        if self._waiter is not None:
            self._waiter.set_result(None)

    def stream_chunk(self, connection: UpstreamConnection, chunk: bytes) -> None:
        if self.disconnected:
            connection.abort("the client left")
            return
        # The request's own deadline ended with the head; from here on only a standstill counts.
        connection.deadline_s = monotonic() + _STREAM_STALL_S
        if self.request.method == b"HEAD":
            return
        self.client.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)

    def stream_ended(self, connection: UpstreamConnection) -> None:
        if self._chunked and not self.disconnected and self.request.method != b"HEAD":
            self.client.write(b"0\r\n\r\n")
        if not connection.closed:
            self.resume()  # who asks next on this connection does not wait for this client to read
        cell, now_s = self.route.cell, monotonic()
        cell.figures.answered(connection.status, now_s - self.request.received_s)
        if self.services.access_log.picks(connection.status):
            self.write_access_line(connection.status, -1)
        cell.give_back(connection, now_s)
        self.end()

    # What the client's connection tells.

    def client_left(self) -> None:
        """A write goes on to its end in the cell, what is only held ends; a stream that nobody reads is cut."""
        self.disconnected = True
        if self.waiter is not None:
            self.waiter.abandon()
        if self.streaming and self.connection is not None and self.connection.sink is self:
            self.connection.abort("the client left")

    def client_half_closed(self) -> None:
        """Perhaps it has left, so what is only held is given up."""
        if self.waiter is not None:
            self.waiter.abandon()

    def pause(self) -> None:
        if self.streaming and self.connection is not None and self.connection.transport is not None:
            self.connection.transport.pause_reading()
            self.route.cell.mark_slow(self.connection)

    def resume(self) -> None:
        if self.streaming and self.connection is not None and self.connection.transport is not None:
            self.connection.transport.resume_reading()

    # The end.

    def deliver(self, connection: UpstreamConnection) -> None:
        """Pass a whole answer on."""
        now_s = monotonic()
        cell = self.route.cell
        cell.figures.answered(connection.status, now_s - self.request.received_s)
        if not self.disconnected:
            body = connection.body
            parts = self._answer_head(connection, now_s, len(body))
            if self.request.method != b"HEAD":
                parts.append(body)
            self.client.write(b"".join(parts))
        if self.services.access_log.picks(connection.status):
            self.write_access_line(connection.status, len(connection.body))
        cell.give_back(connection, now_s)
        self.end()

    def _answer_head(self, connection: UpstreamConnection, now_s: float, length: int | None) -> list[bytes]:
        ours = self.limit_headers(now_s)
        return write_answer_head(
            connection.status,
            connection.headers,
            ours,
            length,
            chunked=self._chunked,
            last=not self.request.keep_alive,
        )
