"""One forwarded request: to the owner's cell and back.

The usual case runs in callbacks without a task: a known route, an idle connection, a whole answer. Everything else is
`carry.py`. A request has one deadline from when it was whole: whatever it waits for here is taken from what the cell is
given (`budget.py`), and when nothing is left it is not sent.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from infra.runtime.fair_permits import FairPermits
from router.answer import write_answer_head
from router.budget import budget_ms, budget_s
from router.errors import RequestMalformed, RouterRefusal, render_refusal
from router.fleet import Upstream
from router.forwarder import Forwarder
from router.headers import RequestHead, write_request
from router.hold import Ticket, read_halted
from router.identify import Route
from router.tunnel import Tunnel
from router.upstream import UpstreamConnection

if TYPE_CHECKING:
    from router.edge import EdgeProtocol

_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_PREVIEW: Final = b"/v1/orders/preview"  # asks only, though it is a POST
_STREAM_STALL_S: Final = 30.0


class _NoEvent:
    """uvicorn wakes a waiting ASGI task through this; a forwarded request has none."""

    def set(self) -> None: ...


class ForwardedRequest:
    """A request in uvicorn's pipeline (hence the public flags) and the sink of its upstream connection."""

    # What most requests never change stays with the class: one is made for every request.
    message_event = _NoEvent()
    body = b""
    body_bytes = 0
    complete = False
    connection: UpstreamConnection | None = None
    deadline_s = 0.0
    disconnected = False
    early = b""
    found_route: Route | None = None
    received_s = 0.0
    refusal: RouterRefusal | None = None
    response_complete = False
    route: Route
    started = False
    streaming = False
    ticket: Ticket | None = None
    tunnel: Tunnel | None = None
    unanswered = False
    """It was sent, and what became of that nobody has heard."""
    upgrade = False
    _chunked = False
    _waiter: asyncio.Future[str | None] | None = None

    def __init__(
        self,
        edge: "EdgeProtocol",
        forwarder: Forwarder,
        method: bytes,
        target: bytes,
        head: RequestHead,
        *,
        keep_alive: bool,
    ) -> None:
        self.edge = edge
        self.forwarder = forwarder
        self.method = method
        self.target = target
        self.head = head
        self.keep_alive = keep_alive

    @property
    def is_repeatable(self) -> bool:
        return self.method in _SAFE or self.head.has_key

    @property
    def is_safe(self) -> bool:
        return self.method in _SAFE

    # The usual case.

    def begin(self) -> None:
        """The request is whole and it is its turn."""
        forwarder = self.forwarder
        head = self.head
        if not head.request_id or not head.trace:
            request_id, trace = forwarder.ids.request_and_trace()
            head.request_id = head.request_id or request_id
            head.trace = head.trace or trace
        now_s = monotonic()
        self.received_s = now_s
        if head.problem and self.refusal is None:
            self.refusal = RequestMalformed(head.problem)
        if self.refusal is not None:
            self.refuse(self.refusal)
            return
        limits = forwarder.limits
        bucket = self.edge.address_bucket
        if bucket is None or bucket.forgotten:
            bucket = self.edge.address_bucket = limits.address.bucket(self.edge.address)
        if not limits.address.take(bucket, now_s):
            self.refuse(limits.address.refusal(bucket, now_s))
            return
        try:
            self.found_route = self.route = route = forwarder.routes.of_request(head.authorization)
        except RouterRefusal as refusal:
            self.refuse(refusal)
            return
        bucket = route.bucket
        if bucket is None or bucket.forgotten:
            bucket = route.bucket = limits.user.bucket(route.user_id)
        if not limits.user.take(bucket, now_s):
            self.refuse(limits.user.refusal(bucket, now_s))
            return
        self.deadline_s = now_s + forwarder.deadline_s
        if self.upgrade:
            forwarder.spawn_tunnel(self)
            return
        if forwarder.holding.lines and route.user_id in forwarder.holding.lines and self.method not in _SAFE:
            self._hold()
            return
        connection = route.cell.take_ready(now_s, self.places_in(route.cell), route.user_id.int)
        if connection is None:
            forwarder.spawn(self, None)
        else:
            self.send(connection, now_s)

    def places_in(self, cell: Upstream) -> FairPermits:
        """Reads and writes have places of their own."""
        bulkhead = cell.bulkhead
        return bulkhead.reads if self.method in _SAFE or self.target == _PREVIEW else bulkhead.writes

    def _hold(self) -> None:
        """Earlier writes of the user wait, so this one waits behind them."""
        try:
            self.join_line()
        except RouterRefusal as refusal:
            self.refuse(refusal)
        else:
            self.forwarder.spawn(self, None)

    def send(self, connection: UpstreamConnection, now_s: float) -> None:
        head = self.head
        self.connection = connection
        request = write_request(
            method=b"GET" if self.method == b"HEAD" else self.method,  # the same answer; its body ends here
            target=self.target,
            host=connection.server.host_header,
            route_token=self.route.token,
            request_id=head.request_id,
            trace=head.trace,
            budget_ms=self._budget_ms(now_s),
            passed=head.passed,
            body=self.body,
        )
        connection.send(request, self, now_s=now_s, deadline_s=self.deadline_s)

    def _budget_ms(self, now_s: float) -> bytes:
        return self.forwarder.whole_budget_ms if now_s == self.received_s else budget_ms(self.deadline_s, now_s)

    @property
    def budget_s(self) -> float:
        return budget_s(self.deadline_s, monotonic())

    def join_line(self) -> None:
        """Wait with the user's other writes. Raises `UserHalted` if there is no room."""
        self.ticket = self.forwarder.holding.join(self.route.user_id, self.received_s, self.budget_s)

    async def exchange(self, connection: UpstreamConnection) -> str | None:
        """Send and wait. None: a whole answer is in `connection`, or its stream has begun. Else why it broke."""
        loop = self.edge.loop
        self._waiter = loop.create_future()
        self.send(connection, monotonic())
        try:
            return await self._waiter
        finally:
            self._waiter = None

    # What the upstream connection tells.

    def answered(self, connection: UpstreamConnection) -> None:
        if self._waiter is not None:
            self._waiter.set_result(None)
        elif connection.status == 421 or (connection.status == 503 and self._is_halted_write(connection)):
            self.forwarder.spawn(self, None)
        else:
            self.deliver(connection)

    def _is_halted_write(self, connection: UpstreamConnection) -> bool:
        return self.method not in _SAFE and read_halted(503, connection.body) is not None

    def broken(self, connection: UpstreamConnection, why: str) -> None:
        if self.streaming:
            cell, now_s = self.route.cell, monotonic()
            if self.disconnected or self.edge.flow.write_paused:  # it was the client who did not take it
                cell.figures.answered(connection.status, now_s - self.received_s)
                cell.give_back(connection, now_s)
            else:
                cell.figures.answered(500, now_s - self.received_s)
                cell.lose(connection, now_s)
            self.end(abort=True)
        elif self._waiter is not None:
            self._waiter.set_result(why)
        else:
            self.forwarder.spawn(self, why)

    def stream_began(self, connection: UpstreamConnection) -> None:
        self.streaming = True
        declared = any(name == b"content-length" for name, _ in connection.headers)
        self._chunked = not declared and self.keep_alive
        if not declared and not self._chunked:
            self.keep_alive = False
        if not self.disconnected:
            self.edge.transport.write(b"".join(self._answer_head(connection, monotonic(), None)))
            if self.edge.flow.write_paused:  # he has not taken his last answer yet
                self.pause()
        if self._waiter is not None:
            self._waiter.set_result(None)

    def stream_chunk(self, connection: UpstreamConnection, chunk: bytes) -> None:
        if self.disconnected:
            connection.abort("the client left")
            return
        connection.deadline_s = monotonic() + _STREAM_STALL_S
        if self.method == b"HEAD":
            return
        self.edge.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)

    def stream_ended(self, connection: UpstreamConnection) -> None:
        if self._chunked and not self.disconnected and self.method != b"HEAD":
            self.edge.transport.write(b"0\r\n\r\n")
        if not connection.closed:
            self.resume()  # who asks next on this connection does not wait for this client to read
        cell, now_s = self.route.cell, monotonic()
        cell.figures.answered(connection.status, now_s - self.received_s)
        self.forwarder.log.ended(self, connection.status, -1)
        cell.give_back(connection, now_s)
        self.end()

    # What the client's connection tells.

    def client_left(self) -> None:
        """A write goes on to its end in the cell, one that is only held ends; a stream that nobody reads is cut."""
        self.disconnected = True
        if self.ticket is not None:
            self.ticket.abandon()
        if self.tunnel is not None:
            self.tunnel.close()
        if self.streaming and self.connection is not None and self.connection.sink is self:
            self.connection.abort("the client left")

    def pause(self) -> None:
        if self.tunnel is not None:
            self.tunnel.pause_reading()
        if self.streaming and self.connection is not None and self.connection.transport is not None:
            self.connection.transport.pause_reading()
            self.route.cell.set_aside(self.connection)

    def resume(self) -> None:
        if self.tunnel is not None:
            self.tunnel.resume_reading()
        if self.streaming and self.connection is not None and self.connection.transport is not None:
            self.connection.transport.resume_reading()

    # The end.

    def deliver(self, connection: UpstreamConnection) -> None:
        """Pass a whole answer on."""
        now_s = monotonic()
        cell = self.route.cell
        cell.figures.answered(connection.status, now_s - self.received_s)
        if not self.disconnected:
            body = connection.body
            parts = self._answer_head(connection, now_s, len(body))
            if self.method != b"HEAD":
                parts.append(body)
            self.edge.transport.write(b"".join(parts))
        self.forwarder.log.ended(self, connection.status, len(connection.body))
        cell.give_back(connection, now_s)
        self.end()

    def refuse(self, refusal: RouterRefusal) -> None:
        refusals = self.forwarder.refusals
        refusals[refusal.code] = refusals.get(refusal.code, 0) + 1
        if not self.disconnected:
            refusal.limit_headers = refusal.limit_headers or self.limit_headers(monotonic())
            answer = render_refusal(refusal, self.head.request_id, close=not self.keep_alive)
            if self.method == b"HEAD":
                answer = answer[: answer.index(b"\r\n\r\n") + 4]
            self.edge.transport.write(answer)
        self.forwarder.log.ended(self, refusal.status, 0, refusal.code)
        self.end()

    def end(self, *, abort: bool = False) -> None:
        self.connection = None
        self.response_complete = True
        if abort:
            self.edge.transport.abort()
        elif not self.keep_alive:
            self.edge.hang_up()
        self.edge.on_response_complete()

    def _answer_head(self, connection: UpstreamConnection, now_s: float, length: int | None) -> list[bytes]:
        ours = self.limit_headers(now_s)
        return write_answer_head(
            connection.status, connection.headers, ours, length, chunked=self._chunked, last=not self.keep_alive
        )

    def limit_headers(self, now_s: float) -> bytes:
        """How often the customer may ask yet. By the route that was found first: a 421 or a hold ends with another."""
        found = self.found_route
        if found is None or found.bucket is None:
            return b""
        return self.forwarder.limits.user.headers(found.bucket, now_s)
