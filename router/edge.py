"""The customers' port: a uvicorn protocol that takes forwarded requests off the ASGI road.

Everything under `/v1` that belongs to a cell goes from the parser (`framing.py`) straight to a cell's connection and
back: no task, no ASGI messages, no context per request. The router's own few calls (sign-up, tokens, documents) take
uvicorn's usual way to Litestar. A request is forwarded only when it is complete, so a client that stalls holds nothing
of a cell. Here: who may connect, whose turn it is, and how a connection ends.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from router.errors import RequestMalformed, RouterRefusal
from router.forward import ForwardedRequest
from router.forwarder import Forwarder
from router.frames import SERVICE_RESTART
from router.framing import RequestFraming
from router.headers import RequestHead
from router.limits import Bucket, address_key
from router.settings import EdgeSettings
from router.target import is_forwarded, is_plain


class EdgeProtocol(RequestFraming):
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
        super().__init__(config, server_state, app_state, _loop, forwarder=forwarder, settings=settings)
        self.hung_up_at_s = 0.0
        self._taking_turns = False
        self.turn: Any = None
        """The request that is being answered: ours (then it is `active` too), or uvicorn's."""
        self.address = ""
        self.address_bucket: Bucket | None = None
        self.closing_since_s = 0.0
        self.idle_since_s = self.loop.time()

    # What the transport tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = address_key(self.client[0]) if self.client else ""
        if not self._forwarder.admit(self, self._settings):
            self._deaf = True
            transport.abort()

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
        elif self.turn is not None:  # uvicorn tells only the newest request
            self.turn.disconnected = True
            self.turn.message_event.set()
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

    # What the client asks.

    def request_headed(self, method: bytes, *, keeps_alive: bool, upgrade: bool) -> None:
        head = self._head
        refusal: RouterRefusal | None = None
        if not is_forwarded(self.url):
            limit = self._forwarder.limits.identity
            bucket, now_s = limit.bucket(self.address), self.loop.time()
            if limit.take(bucket, now_s):
                self.to_litestar(keeps_alive=keeps_alive)
                return
            refusal = limit.refusal(bucket, now_s)
        head.drop_named_by_connection()
        keep_alive = keeps_alive and not self.draining
        request = ForwardedRequest(self, self._forwarder, method, self.url, head, keep_alive=keep_alive)
        if refusal is not None:
            request.refusal = refusal
        elif not is_plain(self.url):
            request.refusal = RequestMalformed("the path is not spelled plainly")
        elif upgrade:
            request.upgrade, request.keep_alive = True, False
        previous: Any = self.cycle
        self.cycle = request  # type: ignore[assignment]
        if previous is None or previous.response_complete:
            self._start(request)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))  # type: ignore[arg-type]

    @property
    def current(self) -> Any:
        """The newest request of the connection: ours, uvicorn's, or None."""
        return self.cycle

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

    def refuse_now(self, refusal: RouterRefusal) -> None:
        """Nothing after this is read. What came before is answered first, then the refusal, and the connection ends."""
        if self._deaf:
            return
        self._deaf = True
        self.reading_since_s = 0.0
        newest: Any = self.cycle
        if newest is not None and newest.__class__ is not ForwardedRequest and newest.more_body:
            if newest is self.turn or newest.response_complete:
                newest.disconnected = True  # its body never comes; Litestar's answer would be about something else
                newest.message_event.set()
                if newest.response_started:
                    self.hang_up()
                    return
                self.turn = None
            else:
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
