"""The router's own calls and pages (sign-up, tokens, documents): an ASGI application, called with a whole request.

They are rare and bound by argon2 in the cell, so they may cost a task and a few copies. The application sees one
request at a time, with a body that is here already and within the limits; its answer is collected whole and then
written, so it is framed by its length and a client that does not read holds nothing of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import Any, Final
from urllib.parse import unquote

from infra.runtime.logs import bind_request
from router.answer import write_answer_head
from router.errors import RequestMalformed, RouterRefusal
from router.exchange import Client, Exchange
from router.request import Request
from router.services import Services
from router.tasks import TaskRegistry

_log = logging.getLogger(__name__)
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Twice what a document of a cell may have (`cell_calls.py`): the largest page is that one, merged with ours."""

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class OwnPage(Exchange):
    """One page, asked in a task of its own. The rate is that of sign-ups and logins from one address."""

    def __init__(self, client: Client, services: Services, request: Request, app: AsgiApp, tasks: TaskRegistry) -> None:
        super().__init__(client, services, request)
        self._app = app
        self._tasks = tasks
        self._left = asyncio.Event()

    def begin(self) -> None:
        self.services.ids.complete(self.request)
        self.request.received_s = now_s = monotonic()
        limit = self.services.limits.identity
        bucket = limit.bucket_of(self.client.address)
        if limit.take(bucket, now_s):
            self._tasks.spawn(self._answer())
        else:
            self.refuse(limit.refusal(bucket, now_s))

    def client_left(self) -> None:
        """What was asked is done all the same: a sign-up that is under way ends."""
        self.disconnected = True
        self._left.set()

    async def _answer(self) -> None:
        """To the end, whatever it is."""
        bind_request(self.request.request_id, self.request.trace)
        try:
            scope = make_scope(self.request, self.client.address)
            answer = await _ask(self._app, scope, self.request.body, self._left)
        except RouterRefusal as refusal:
            self.refuse(refusal)
        except Exception:
            _log.exception("a page of the router's own failed")
            self.refuse(RouterRefusal("something went wrong here; the request id finds it in the log"))
        else:
            if not self.disconnected:
                self.client.write(answer.written_for(self.request))
            self.end()


def make_scope(request: Request, address: str) -> Message:
    """The request as ASGI 3 has it, with a request id among its headers. Raises `RequestMalformed`."""
    target = request.target.partition(b"#")[0]
    raw_path, _, query = target.partition(b"?")
    if not raw_path.isascii():
        raise RequestMalformed("the path is not spelled plainly")
    headers = [header for header in request.headers if header[0] != b"x-request-id"]
    headers.append((b"x-request-id", request.request_id))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": request.method.decode("ascii"),
        "root_path": "",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
        "client": (address, 0) if address else None,
        "server": None,
        "state": {},
    }


class _Answer:
    """What the application sends, collected."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_whole = False

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)
            if len(self.body) > _ANSWER_BYTES_MAX:
                raise ValueError("the page is too large")

    def written_for(self, request: Request) -> bytes:
        is_last = not request.keep_alive
        parts = write_answer_head(self.status, self.headers, b"", len(self.body), chunked=False, last=is_last)
        if request.method != b"HEAD":
            parts.append(self.body)
        return b"".join(parts)


async def _ask(app: AsgiApp, scope: Message, body: bytes, left: asyncio.Event) -> _Answer:
    """Raises whatever the application raises, and ValueError if it says too much or nothing."""
    answer = _Answer()
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if not is_read:
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    await app(scope, receive, answer.take)
    if not answer.is_whole:
        raise ValueError("the page did not end")
    return answer
