"""One request and its answer, between a client's connection and whoever answers.

`Client` is what an answer may do to the connection, `Exchange` what the connection tells whoever answers. Neither side
knows the other's class: `dispatch.py` decides which exchange a request becomes.
"""

from time import monotonic
from typing import Protocol

from router.errors import RouterRefusal, render_refusal
from router.identify import Route
from router.limits import TokenBucket
from router.request import Request
from router.services import Services


class Client(Protocol):
    """A client's connection. After `Exchange.client_left` nothing may be written."""

    address: str
    """Whom the address stands for (`limits.address_key`)."""
    token_bucket: TokenBucket | None
    """Its token bucket, found once for a connection."""
    draining: bool
    write_paused: bool
    """The client does not take what was written as fast as it comes."""

    def write(self, data: bytes, /) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        """Close at once; what was written and not taken is lost."""
        ...

    def finished(self, request: Request) -> None:
        """Its answer is written, or never will be. Without `keep_alive` the connection ends."""
        ...


class Exchange:
    """What happens to one request. `begin` is called once, when it is whole and those before it are answered; then one
    of `refuse` and `end` is called, once."""

    takes_bytes = False
    """What the client sends behind the head is for `receive`, unread."""
    disconnected = False
    is_answered = False
    found_route: Route | None = None
    """Whose request it is, as far as that is known."""

    def __init__(self, client: Client, services: Services, request: Request) -> None:
        self.client = client
        self.services = services
        self.request = request

    def begin(self) -> None:
        raise NotImplementedError

    # What the client's connection tells, from `begin` to the end.

    def receive(self, data: bytes) -> None:
        """Bytes behind the head, if `takes_bytes`; also before `begin`."""
        raise NotImplementedError

    def client_left(self) -> None:
        self.disconnected = True

    def client_half_closed(self) -> None:
        """The client sends nothing more; who has left cannot be told from who waits for the answer."""

    def pause(self) -> None:
        """`Client.write_paused` has become true."""

    def resume(self) -> None:
        """And false again."""

    def drain(self) -> None:
        """The router goes: come to an end soon."""

    def sweep(self, now_s: float) -> None:
        """Now and then: has it stood still for too long?"""

    # The end.

    def refuse(self, refusal: RouterRefusal) -> None:
        request = self.request
        self.services.refusals[refusal.code] += 1
        if not self.disconnected:
            refusal.limit_headers = refusal.limit_headers or self.limit_headers(monotonic())
            answer = render_refusal(refusal, request.request_id, close=not request.keep_alive)
            if request.method == b"HEAD":
                answer = answer[: answer.index(b"\r\n\r\n") + 4]
            self.client.write(answer)
        if self.services.access_log.picks(refusal.status):
            self.write_access_line(refusal.status, 0, refusal.code)
        self.end()

    def end(self, *, abort: bool = False) -> None:
        self.is_answered = True
        if abort:
            self.client.abort()
        self.client.finished(self.request)

    def write_access_line(self, status: int, size_bytes: int, code: str = "") -> None:
        self.services.access_log.write(self.request, self.client.address, self.found_route, status, size_bytes, code)

    def limit_headers(self, now_s: float) -> bytes:
        """How often the customer may ask yet; nothing before it is known who asks."""
        found = self.found_route
        if found is None or found.token_bucket is None:
            return b""
        return self.services.limits.user.headers(found.token_bucket, now_s)


class RefusedExchange(Exchange):
    """A request that is answered with a refusal, when its turn comes."""

    def __init__(self, client: Client, services: Services, request: Request, refusal: RouterRefusal) -> None:
        super().__init__(client, services, request)
        self._refusal = refusal

    def begin(self) -> None:
        self.services.ids.complete(self.request)
        self.request.received_s = monotonic()
        self.refuse(self._refusal)
