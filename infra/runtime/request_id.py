"""The id by which an answer and the log lines of its request find each other (`X-Request-Id`).

Every request has one: the sender's own if it can be repeated in a header and in a log line, a new one otherwise.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from infra.runtime.logs import TRACE_HEADER, bind_request

REQUEST_ID_HEADER: Final = b"x-request-id"
_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")
"""Visible ASCII; as many as the forms in use (UUID, ULID, a trace's id) need, several times over."""

Message = MutableMapping[str, Any]


def request_id_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Of a request with these headers, names in lower case."""
    given = headers.get(REQUEST_ID_HEADER)
    return given if given is not None and _REQUEST_ID.fullmatch(given) else str(uuid.uuid4()).encode()


class WithRequestId:
    """An ASGI application whose requests, answers and log lines all carry the id."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        bind_request(request_id, headers.get(TRACE_HEADER, b""))
        kept = [header for header in scope["headers"] if header[0] != REQUEST_ID_HEADER]

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id)]
            await send(message)

        await self._app({**scope, "headers": [*kept, (REQUEST_ID_HEADER, request_id)]}, receive, send_marked)
