"""One forwarded request: to the owner's cell and back.

The usual case runs in callbacks without a task: a known route, an idle connection, a whole answer. Everything else
(connect, queue, a broken connection, 421) is one coroutine, `_carry`, with a bounded number of attempts:

- a connection that broke: once more on a new connection, if the request is safe to repeat (a read, or it carries an
  idempotency key), else and after that `OUTCOME_UNKNOWN` for a write and `CELL_UNAVAILABLE` for a read;
- 421: the map is refreshed and the request sent once more, to another cell; a second 421 ends in `CELL_UNAVAILABLE`;
- a halted user: his write waits in line (`hold.py`) and is sent again, until its time is up.

A request has one deadline from when it was whole. Whatever it waits for here is taken from what the cell is given
(`budget.py`), and when nothing is left it is not sent.

An answer of a write that was sent is never guessed, and nothing here answers 504.
"""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import UUID

from router.access_log import AccessLog
from router.budget import budget_ms, budget_s
from router.errors import (
    STATUS_LINES,
    CellUnavailable,
    OutcomeUnknown,
    RequestMalformed,
    RouterRefusal,
    render_refusal,
)
from router.frames import POLICY_VIOLATION
from router.headers import DROPPED_FROM_ANSWERS, Ids, RequestHead, as_upgrade, write_request
from router.hold import Holding, Ticket, read_halted
from router.identify import Route, Routes
from router.limits import Limit
from router.misroute import Misroutes, hint_lied
from router.settings import EdgeSettings
from router.tunnel import Tunnel, run_tunnel
from router.upstream import UpstreamConnection

if TYPE_CHECKING:
    from router.edge import EdgeProtocol

_log = logging.getLogger(__name__)
_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_STREAM_STALL_S: Final = 30.0


class _NoEvent:
    """uvicorn wakes a waiting ASGI task through this; a forwarded request has none."""

    def set(self) -> None: ...


@dataclass(frozen=True)
class Limits:
    user: Limit
    address: Limit
    identity: Limit


class Forwarder:
    """What all requests share."""

    def __init__(
        self,
        routes: Routes,
        misroutes: Misroutes,
        holding: Holding,
        limits: Limits,
        log: AccessLog,
        *,
        deadline_s: float,
    ) -> None:
        self.routes = routes
        self.holding = holding
        self.misroutes = misroutes
        self.ids = Ids()
        self.deadline_s = deadline_s
        self.whole_budget_ms = budget_ms(deadline_s, 0.0)
        self.limits = limits
        self.clients: set[EdgeProtocol] = set()
        self.clients_by_address: dict[str, int] = {}
        self.clients_refused = 0
        self.tunnels: set[Tunnel] = set()
        self.log = log
        self.tasks: set[asyncio.Task[None]] = set()
        self.refusals: dict[str, int] = {}

    def admit(self, client: "EdgeProtocol", settings: EdgeSettings) -> bool:
        """A new connection, if there are not too many of all, or of its address."""
        of_address = self.clients_by_address.get(client.address, 0)
        if len(self.clients) >= settings.clients_max or of_address >= settings.clients_per_address_max:
            self.clients_refused += 1
            return False
        self.clients.add(client)
        self.clients_by_address[client.address] = of_address + 1
        return True

    def dismiss(self, client: "EdgeProtocol") -> None:
        if client in self.clients:
            self.clients.remove(client)
            left = self.clients_by_address[client.address] - 1
            if left:
                self.clients_by_address[client.address] = left
            else:
                del self.clients_by_address[client.address]

    def spawn_tunnel(self, request: "ForwardedRequest") -> None:
        task = asyncio.get_running_loop().create_task(run_tunnel(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close_tunnels(self, user_ids: Collection[UUID]) -> None:
        """Their tokens are void, so what was opened by them ends."""
        for tunnel in [tunnel for tunnel in self.tunnels if tunnel.request.route.user_id in user_ids]:
            tunnel.leave(POLICY_VIOLATION, 0.0)

    def spawn(self, request: "ForwardedRequest", broken: str | None) -> None:
        task = asyncio.get_running_loop().create_task(_carry_or_refuse(request, broken))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


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
        self._forwarder = forwarder
        self.method = method
        self.target = target
        self.head = head
        self.keep_alive = keep_alive

    @property
    def forwarder(self) -> Forwarder:
        return self._forwarder

    @property
    def is_repeatable(self) -> bool:
        return self.method in _SAFE or self.head.has_key

    @property
    def is_safe(self) -> bool:
        return self.method in _SAFE

    # The usual case.

    def begin(self) -> None:
        """The request is whole and it is its turn."""
        forwarder = self._forwarder
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
        connection = route.cell.take_ready(now_s)
        if connection is None:
            forwarder.spawn(self, None)
        else:
            self.send(connection, now_s)

    def _hold(self) -> None:
        """Earlier writes of the user wait, so this one waits behind them."""
        try:
            self.ticket = self._join_line()
        except RouterRefusal as refusal:
            self.refuse(refusal)
        else:
            self._forwarder.spawn(self, None)

    def send(self, connection: UpstreamConnection, now_s: float) -> None:
        head = self.head
        self.connection = connection
        request = write_request(
            method=self.method,
            target=self.target,
            host=connection.server.host_header,
            route_token=self.route.token,
            request_id=head.request_id,
            trace=head.trace,
            budget_ms=self._budget_ms(now_s),
            passed=head.passed,
            body=self.body,
        )
        connection.send(request, self, is_head=self.method == b"HEAD", now_s=now_s, deadline_s=self.deadline_s)

    def _budget_ms(self, now_s: float) -> bytes:
        return self._forwarder.whole_budget_ms if now_s == self.received_s else budget_ms(self.deadline_s, now_s)

    def may_be_held(self) -> bool:
        """A write that the cell refused because its user is halted: in line, unless there is no room."""
        if self.is_safe:
            return False
        if self.ticket is None:
            try:
                self.ticket = self._join_line()
            except RouterRefusal:
                return False  # then the cell's own refusal is passed on
        return True

    def _join_line(self) -> Ticket:
        return self._forwarder.holding.join(self.route.user_id, self.received_s, self.budget_s)

    @property
    def budget_s(self) -> float:
        return budget_s(self.deadline_s, monotonic())

    def follow_map(self) -> None:
        """Time has passed: perhaps the user has another owner now."""
        routes = self._forwarder.routes
        if not routes.is_current(self.route):
            self.route = routes.to_owner(self.route.user_id)

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
            self._forwarder.spawn(self, None)
        else:
            self.deliver(connection)

    def _is_halted_write(self, connection: UpstreamConnection) -> bool:
        return self.method not in _SAFE and read_halted(503, connection.body) is not None

    def broken(self, connection: UpstreamConnection, why: str) -> None:
        if self.streaming:
            self._count(connection, 500)
            self.route.cell.lose(connection, monotonic())
            self._end(abort=True)
        elif self._waiter is not None:
            self._waiter.set_result(why)
        else:
            self._forwarder.spawn(self, why)

    def stream_began(self, connection: UpstreamConnection) -> None:
        self.streaming = True
        declared = any(name == b"content-length" for name, _ in connection.headers)
        self._chunked = not declared and self.keep_alive
        if not declared and not self._chunked:
            self.keep_alive = False
        if not self.disconnected:
            self.edge.transport.write(b"".join(self._answer_head(connection, monotonic(), chunked=self._chunked)))
        if self._waiter is not None:
            self._waiter.set_result(None)

    def stream_chunk(self, connection: UpstreamConnection, chunk: bytes) -> None:
        if self.disconnected:
            connection.abort("the client left")
            return
        connection.deadline_s = monotonic() + _STREAM_STALL_S
        self.edge.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)

    def stream_ended(self, connection: UpstreamConnection) -> None:
        if self._chunked and not self.disconnected:
            self.edge.transport.write(b"0\r\n\r\n")
        self._count(connection, connection.status)
        log = self._forwarder.log
        log.left -= 1
        if log.left <= 0 or connection.status >= 500:
            log.write(self, connection.status, -1)
        self.route.cell.give_back(connection, monotonic())
        self._end()

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
            parts = self._answer_head(connection, now_s, chunked=False)
            parts.append(connection.body)
            self.edge.transport.write(b"".join(parts))
        log = self._forwarder.log
        log.left -= 1
        if log.left <= 0 or connection.status >= 500:
            log.write(self, connection.status, len(connection.body))
        cell.give_back(connection, now_s)
        self._end()

    def refuse(self, refusal: RouterRefusal) -> None:
        refusals = self._forwarder.refusals
        refusals[refusal.code] = refusals.get(refusal.code, 0) + 1
        if not self.disconnected:
            answer = render_refusal(refusal, self.head.request_id, close=not self.keep_alive)
            if self.method == b"HEAD":
                answer = answer[: answer.index(b"\r\n\r\n") + 4]
            self.edge.transport.write(answer)
        log = self._forwarder.log
        log.left -= 1
        if log.left <= 0 or refusal.status >= 500:
            log.write(self, refusal.status, 0, refusal.code)
        self._end()

    # A WebSocket.

    def written_for(self, host: bytes) -> bytes:
        """The upgrade as the cell gets it."""
        head = self.head
        written = write_request(
            method=self.method,
            target=self.target,
            host=host,
            route_token=self.route.token,
            request_id=head.request_id,
            trace=head.trace,
            budget_ms=budget_ms(self.deadline_s, monotonic()),
            passed=head.passed,
            body=b"",
        )
        return as_upgrade(written)

    def tunnel_opened(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self.route.cell.tunnels += 1
        self._forwarder.tunnels.add(tunnel)
        self.route.cell.figures.answered(101, monotonic() - self.received_s)
        tunnel.open(self.early)
        self.early = b""

    def tunnel_ended(self) -> None:
        if self.tunnel is not None and self.tunnel in self._forwarder.tunnels:
            self._forwarder.tunnels.discard(self.tunnel)
            self.route.cell.tunnels -= 1
        if not self.response_complete:
            self._end()

    def deliver_upgrade_refused(self, tunnel: Tunnel) -> None:
        """The cell's ordinary answer to an upgrade it does not want."""
        self.route.cell.figures.answered(tunnel.status, monotonic() - self.received_s)
        if not self.disconnected:
            parts = [STATUS_LINES.get(tunnel.status, b"HTTP/1.1 %d \r\n" % tunnel.status)]
            kept = (
                header
                for header in tunnel.headers
                if header[0] not in DROPPED_FROM_ANSWERS and header[0] != b"content-length"
            )
            parts += [b"%b: %b\r\n" % header for header in kept]
            parts.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(tunnel.body))
            self.edge.transport.write(b"".join([*parts, tunnel.body]))
        self._end()

    def _end(self, *, abort: bool = False) -> None:
        self.connection = None
        self.response_complete = True
        if abort:
            self.edge.transport.abort()
        elif not self.keep_alive:
            self.edge.hang_up()
        self.edge.on_response_complete()

    def _count(self, connection: UpstreamConnection, status: int) -> None:
        self.route.cell.figures.answered(status, monotonic() - self.received_s)

    def _answer_head(self, connection: UpstreamConnection, now_s: float, *, chunked: bool) -> list[bytes]:
        status = connection.status
        line = STATUS_LINES.get(status)
        parts = [line if line is not None else b"HTTP/1.1 %d \r\n" % status]
        declared = False
        for name, value in connection.headers:
            if name not in DROPPED_FROM_ANSWERS:
                declared = declared or name == b"content-length"
                parts += (name, b": ", value, b"\r\n")
        if chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        elif not declared and not self.streaming and status not in (204, 304) and not connection.is_head:
            parts.append(b"content-length: %d\r\n" % len(connection.body))
        route_bucket = self.route.bucket
        if route_bucket is not None:
            parts.append(self._forwarder.limits.user.headers(route_bucket, now_s))
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return parts


async def _carry_or_refuse(request: ForwardedRequest, broken: str | None) -> None:
    try:
        await _carry(request, broken)
    except RouterRefusal as refusal:
        request.refuse(refusal)
    except Exception:
        _log.exception(
            "a request could not be carried", extra={"request_id": request.head.request_id.decode("latin-1")}
        )
        if not request.response_complete:
            request.refuse(RouterRefusal("something went wrong here; the request id finds it in the log"))
    finally:
        if request.ticket is not None:
            request.ticket.leave()
            request.ticket = None


async def _carry(request: ForwardedRequest, why: str | None) -> None:
    """Everything but the usual case. Called with an answer of 421, with what broke, or with nothing sent yet."""
    misroutes = request.forwarder.misroutes
    resent = redirected = unanswered = False
    while True:
        connection = request.connection
        cell = request.route.cell
        if connection is None:
            if request.ticket is not None:
                await request.ticket.turn()
                request.follow_map()
                cell = request.route.cell
            try:
                connection = await cell.take_in_time(request.budget_s, fresh=resent)
            except RouterRefusal:
                if unanswered and not request.is_safe:
                    raise OutcomeUnknown(_UNKNOWN) from None
                raise
            why = await request.exchange(connection)
        if request.streaming:
            return
        if why is not None:
            now_s = monotonic()
            cell.lose(connection, now_s)
            request.connection = None
            unanswered = True
            if resent or not request.is_repeatable or request.deadline_s <= now_s:
                if request.is_safe:
                    raise CellUnavailable("the cell that serves this user did not answer")
                raise OutcomeUnknown(_UNKNOWN)
            cell.figures.resent += 1
            resent, why = True, None
        elif connection.status == 421:
            cell.figures.misdirected += 1
            cell.give_back(connection, monotonic())
            request.connection = None
            request.forwarder.routes.forget(request.head.authorization)
            if redirected:
                misroutes.loops += 1
                raise CellUnavailable("the user is on the way to another cell")
            request.route = await misroutes.find_owner(request.route, connection.body)
            redirected, unanswered = True, False
        elif (halted := read_halted(connection.status, connection.body)) is not None and request.may_be_held():
            cell.give_back(connection, monotonic())
            request.connection, unanswered = None, False
            assert request.ticket is not None
            request.ticket.still_halted(halted)
        elif hint_lied(request.route, connection.status, connection.body):
            cell.give_back(connection, monotonic())
            raise CellUnavailable("the user is on the way to another cell")
        else:
            request.deliver(connection)
            return


_UNKNOWN: Final = "the request was sent, but its outcome is not known; send it again with the same idempotency key"
