"""The customer port: hot routes straight on ASGI, the others through Litestar, the same answers from both.

Placing and cancelling are nearly all of the traffic at the open, and a framework's routing, injection and response
objects cost as much as the order itself. So those two are served here, and nowhere else: under every spelling of their
paths that Litestar would take, too. The Litestar controller only describes them in the OpenAPI document.
Every answer carries `X-Cell` and `X-Request-Id`, whoever made it.
"""

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from cell import errors
from cell.caller import Answer, Caller, idempotency_key
from cell.ownership.guard import RouteGuard, as_they_know
from cell.request_figures import RequestFigures
from infra.runtime import deadline
from infra.runtime.logs import TRACE_HEADER, bind_request
from infra.runtime.methods import Methods, as_get
from infra.runtime.on_behalf import on_behalf_of
from infra.runtime.plain_requests import check_headers, check_query
from infra.runtime.problem import MEDIA_TYPE, Problem, problem_body
from infra.runtime.request_id import request_id_of
from infra.runtime.strict_body import check_content_type

_log = logging.getLogger(__name__)

# As the ASGI specification has them; a framework's own types add nothing on this side of it.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HotRoute = Callable[[Caller, str, bytes], Awaitable[Answer]]
_ORDERS: Final = "/v1/orders"
_ORDER: Final = _ORDERS + "/"
_NO_ORDERS: Final = frozenset({_ORDER + "preview"})
"""Paths below `/v1/orders/` that look like an order's and are something else."""


class CustomerPort:
    """The ASGI application of the customer port."""

    def __init__(
        self,
        litestar: Callable[[Any, Any, Any], Awaitable[None]],
        *,
        cell_name: str,
        guard: RouteGuard,
        place: HotRoute,
        cancel: Callable[[Caller, str, str], Awaitable[Answer]],
        body_max_bytes: int,
        methods: Methods,
        figures: RequestFigures,
    ) -> None:
        self._litestar = litestar
        self._cell_header = (b"x-cell", cell_name.encode())
        self._guard = guard
        self._place = place
        self._cancel = cancel
        self._body_max_bytes = body_max_bytes
        self._methods = methods
        self._figures = figures

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._litestar(scope, receive, send)
            return
        path, method, headers = _one_spelling(scope["path"]), scope["method"], dict(scope["headers"])
        with deadline.budget(headers.get(deadline.DEADLINE_HEADER)):
            if method == "POST" and path == _ORDERS:
                await self._hot(scope, headers, receive, send, None)
            elif method == "DELETE" and _is_order_path(path):
                await self._hot(scope, headers, receive, send, path[len(_ORDER) :])
            else:
                await self._cold(scope, headers, receive, send)

    async def _hot(
        self, scope: Message, headers: dict[bytes, bytes], receive: Receive, send: Send, order_id: str | None
    ) -> None:
        """Place (no `order_id`) or cancel: identify, read, decide, answer.

        Whatever goes wrong is an answer: a Problem its own, anything else 500 with a line in the log. What Litestar's
        middleware asks of other requests (headers, query) is asked only where it can be wrong.
        """
        began_s = time.perf_counter()
        request_id = request_id_of(headers)
        bind_request(request_id, headers.get(TRACE_HEADER, b""))
        out = [self._cell_header, (b"x-request-id", request_id)]
        try:
            if len(headers) != len(scope["headers"]) or b"content-encoding" in headers:
                check_headers(scope["headers"])
            if scope["query_string"]:
                check_query((name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), True)), ())
            token = headers.get(b"x-route-token")
            caller = self._guard.identify(None if token is None else token.decode("latin-1"))
            key = idempotency_key(headers.get(b"x-idempotency-key", b"").decode("latin-1"))
            body = await self._body(receive)
            if order_id is None:
                check_content_type(headers.get(b"content-type", b"").decode("latin-1"))
                answer = await self._place(caller, key, body)
            else:
                answer = await self._cancel(caller, key, order_id)
        except Problem as refused:
            problem = refused if refused.status != 421 else as_they_know(refused, caller)
            status, content = problem.status, MEDIA_TYPE.encode()
            answer_body = problem_body(status, problem.code, problem.detail, request_id.decode(), problem.figures)
            out += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        except Exception:
            _log.exception("unhandled error", extra={"request_id": request_id.decode(), "path": scope["path"]})
            status, content = 500, MEDIA_TYPE.encode()
            detail = "something went wrong here; the request id finds it in the log"
            answer_body = problem_body(status, "INTERNAL", detail, request_id.decode(), {})
        else:
            status, content, answer_body = answer.status, b"application/json", answer.body
            if answer.replayed:
                out.append((b"idempotency-replayed", b"true"))
            if answer.etag is not None:
                out.append((b"etag", answer.etag.encode()))
        out += [(b"content-type", content), (b"content-length", b"%d" % len(answer_body))]
        await send({"type": "http.response.start", "status": status, "headers": out})
        await send({"type": "http.response.body", "body": answer_body, "more_body": False})
        figures = self._figures.place if order_id is None else self._figures.cancel
        figures.answered(status, time.perf_counter() - began_s)

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body", False) and len(body) <= self._body_max_bytes:
            message = await receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise Problem(400, "INVALID_FIELD", "the request ended before its body did")
        if len(body) > self._body_max_bytes:
            raise errors.body_too_large(self._body_max_bytes)
        return bytes(body)

    async def _cold(self, scope: Message, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        began_s, status = time.perf_counter(), 0
        request_id = request_id_of(headers)
        bind_request(request_id, headers.get(TRACE_HEADER, b""))
        if headers.get(b"x-request-id") != request_id:
            kept = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
            scope["headers"] = [*kept, (b"x-request-id", request_id)]

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = self._methods.truer(message["status"], scope["path"], message["headers"])
                message["headers"] = [*headers, self._cell_header, (b"x-request-id", request_id)]
            await send(message)

        with on_behalf_of(self._guard.user_of(headers.get(b"x-route-token"))):
            await self._litestar(as_get(scope), receive, send_marked)
        if status:
            self._figures.other.answered(status, time.perf_counter() - began_s)


def _one_spelling(path: str) -> str:
    """Without a slash at the end or two in a row, as Litestar reads paths."""
    if not path.endswith("/") and "//" not in path:
        return path  # nearly always
    return "/" + "/".join(part for part in path.split("/") if part)


def _is_order_path(path: str) -> bool:
    """`/v1/orders/<anything>`; whether that is an id is judged later."""
    return path.startswith(_ORDER) and path.find("/", len(_ORDER)) < 0 and path not in _NO_ORDERS
