"""Which headers cross the router, in either direction, and how the forwarded request is written.

Whatever only we may say (route token, cell, forwarding, deadline) is dropped when a client says it; whatever belongs to
one connection stops here; framing is written anew from the body we hold, so no two readers can disagree about where a
request ends. Header values cannot hold line breaks: the parser refuses them.
"""

import os
import re
from functools import lru_cache
from typing import Final

from router.request import Request

_OURS: Final = frozenset(
    {
        b"authorization", b"x-route-token", b"x-request-id", b"traceparent", b"x-cell", b"x-deadline-ms",
        b"idempotency-replayed", b"forwarded", b"x-real-ip", b"via",
    }
)  # fmt: skip
_OF_THE_CONNECTION: Final = frozenset(
    {
        b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host",
        b"content-length", b"expect", b"http2-settings",
    }
)  # fmt: skip
_DROPPED: Final = _OURS | _OF_THE_CONNECTION
_DROPPED_PREFIXES: Final = (b"x-forwarded-", b"proxy-", b"x-internal-", b"x-operator-")
_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"close", b""})
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@lru_cache(maxsize=1_024)
def _may_pass(name: bytes) -> bool:
    """Remembered: names are few, unless somebody plays, and then the oldest is forgotten."""
    return b"_" not in name and not name.startswith(_DROPPED_PREFIXES)


def take_header(request: Request, name: bytes, value: bytes) -> None:
    """Read one header into a request, its name in lower case.

    Most names mean nothing here: they are passed on, or dropped by their form. The others are ours or the connection's:
    dropped, and what some of them say is kept. What may stand once only is counted or becomes the request's `problem`;
    an id that is not well-formed is as if it were not said. Nothing is refused here (`request_rules.py` judges).
    """
    request.head_bytes += len(name) + len(value) + 4
    request.header_count += 1
    request.headers.append((name, value))
    if name not in _DROPPED:
        if not _may_pass(name):
            return
        if name == b"x-idempotency-key":
            if request.has_key:
                request.problem = "X-Idempotency-Key stands twice"
            request.has_key = True
        request.passed += (name, b": ", value, b"\r\n")
    elif name == b"authorization":
        if request.has_identity:
            request.problem = "Authorization stands twice"
        request.has_identity = True
        request.authorization = value
    elif name == b"host":
        request.hosts += 1
    elif name == b"content-length":
        request.content_length = value
    elif name == b"transfer-encoding":
        request.codings += 1
        request.coding = value.lower()
    elif name == b"expect":
        request.expects_continue = value.lower() == b"100-continue"
    elif name == b"x-request-id":
        if _REQUEST_ID.fullmatch(value):
            request.request_id = value
    elif name == b"traceparent":
        if _TRACEPARENT.fullmatch(value):
            request.trace = value
    elif name == b"upgrade":
        request.upgrade = request.upgrade + b"," + value.lower() if request.upgrade else value.lower()
    elif name == b"connection":
        request.connection = request.connection + b"," + value.lower() if request.connection else value.lower()


def drop_named_by_connection(request: Request) -> None:
    """`Connection: x-some-header` makes that header one of this connection alone."""
    if request.connection in _PLAIN_CONNECTION:
        return
    named = {token.strip() for token in request.connection.split(b",")}
    request.has_key = request.has_key and b"x-idempotency-key" not in named  # then no cell would know a repetition
    passed = request.passed
    request.passed = [part for i in range(0, len(passed), 4) if passed[i] not in named for part in passed[i : i + 4]]


class Ids:
    """Request and trace ids: a random start and a counter, unique over routers and restarts."""

    def __init__(self) -> None:
        self._prefix = os.urandom(12).hex().encode()
        self._next = int.from_bytes(os.urandom(2), "big")

    def request_and_trace(self) -> tuple[bytes, bytes]:
        """A request id, and a new trace under the same id, not sampled."""
        self._next += 1
        request_id = b"%s%08x" % (self._prefix, self._next & 0xFFFFFFFF)
        return request_id, b"00-" + request_id + b"-" + request_id[16:] + b"-00"

    def complete(self, request: Request) -> None:
        """Give a request what its client did not name."""
        if not request.request_id or not request.trace:
            request_id, trace = self.request_and_trace()
            request.request_id = request.request_id or request_id
            request.trace = request.trace or trace


def write_request(
    *,
    method: bytes,
    target: bytes,
    host: bytes,
    route_token: bytes,
    request_id: bytes,
    trace: bytes,
    budget_ms: bytes,
    passed: list[bytes],
    body: bytes,
) -> bytes:
    """The request as the cell gets it."""
    parts = [
        method, b" ", target, b" HTTP/1.1\r\nhost: ", host, b"\r\nx-route-token: ", route_token,
        b"\r\nx-request-id: ", request_id, b"\r\ntraceparent: ", trace, b"\r\nx-deadline-ms: ", budget_ms, b"\r\n",
        *passed,
    ]  # fmt: skip
    if body or method not in _BODILESS:
        parts += (b"content-length: %d\r\n\r\n" % len(body), body)
    else:
        parts.append(b"\r\n")
    return b"".join(parts)


def as_upgrade(written: bytes) -> bytes:
    """The same request, asking for a WebSocket."""
    return written[:-2] + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"


_BODILESS: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
