"""What the router asks a cell in its own name: make an account, check a password, turn a refresh token over.

Same connections and breakers as customers' requests, but permits of their own (`bulkhead.py`); the customer's route
token says which user it is about. The paths lie outside `/v1`, so no customer can reach them through the router.
"""

import asyncio
from typing import Any, Final
from uuid import UUID

import msgspec

from infra.runtime.problem import Problem
from infra.topology.identifiers import CellId
from router.budget import budget_ms, budget_s
from router.cell_body import decode_body
from router.errors import RETRY_AFTER_S, CellUnavailable, OutcomeUnknown, RouterRefusal
from router.fleet import Upstream
from router.headers import write_request
from router.identify import Route, Routes
from router.kinds import Kind
from router.misroute import Misroutes, Trail
from router.upstream import UpstreamConnection

_BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of an answer. The largest is the cell's OpenAPI document; a sick cell may send without end."""
_RETRY_AFTER_DIGITS_MAX: Final = 5
"""A day in seconds has as many; a longer number is not a wait that anybody means."""
_NOBODY: Final = 0
"""The holder of permits for requests of no user (`Upstream`)."""


class CellAnswer(msgspec.Struct):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class _Whole:
    """A sink that collects the whole answer, streamed or not."""

    def __init__(self) -> None:
        self.done: asyncio.Future[CellAnswer] = asyncio.get_running_loop().create_future()
        self._chunks: list[bytes] = []
        self._size = 0

    def answered(self, connection: UpstreamConnection) -> None:
        self._finish(connection, connection.body)

    def stream_began(self, connection: UpstreamConnection) -> None: ...

    def stream_chunk(self, connection: UpstreamConnection, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > _BODY_BYTES_MAX:
            connection.abort("the answer is too large")
            return
        self._chunks.append(chunk)

    def stream_ended(self, connection: UpstreamConnection) -> None:
        self._finish(connection, b"".join(self._chunks))

    def broken(self, connection: UpstreamConnection, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(why))

    def _finish(self, connection: UpstreamConnection, body: bytes) -> None:
        if not self.done.done():
            self.done.set_result(CellAnswer(connection.status, list(connection.headers), body))


class CellCalls:
    """Every call raises a `RouterRefusal` for what may be tried again, and returns any answer of the cell as it is."""

    def __init__(self, routes: Routes, misroutes: Misroutes, *, deadline_s: float) -> None:
        self._routes = routes
        self._misroutes = misroutes
        self._deadline_s = deadline_s

    async def post(
        self, user_id: UUID, path: str, body: Any, *, request_id: str, cell_id: CellId | None = None
    ) -> CellAnswer:
        """To the user's cell (or a given one), following 421. The call must be safe to repeat: it is sent again
        once if the connection breaks. Raises a `RouterRefusal`."""
        content = msgspec.json.encode(body)
        until_s = self._until_s()
        route = self._routes.to_owner(user_id) if cell_id is None else self._routes.to_cell(user_id, cell_id)
        answer = await self._ask_twice(route, b"POST", path, content, request_id, until_s)
        trail = Trail()
        while answer.status == 421:
            route = await self._misroutes.find_owner(route, answer.body, trail)
            answer = await self._ask_twice(route, b"POST", path, content, request_id, until_s)
        self._misroutes.check_followed(route, answer.status, answer.body)
        return answer

    async def get(self, route: Route, path: str, *, request_id: str) -> CellAnswer:
        return await self._ask_twice(route, b"GET", path, b"", request_id, self._until_s())

    async def fetch_document(self, cell: Upstream, path: str) -> CellAnswer:
        """A public document of a cell: about no user, so without a route token."""
        return await self._ask(
            cell, b"GET", path, b"", b"", "router-documents", self._until_s(), whom=_NOBODY, fresh=False
        )

    def _until_s(self) -> float:
        """One deadline for all that a call may take: waiting, sending again, another cell."""
        return asyncio.get_running_loop().time() + self._deadline_s

    async def _ask_twice(
        self, route: Route, method: bytes, path: str, body: bytes, request_id: str, until_s: float
    ) -> CellAnswer:
        arguments = (route.cell, method, path, body, route.token, request_id, until_s)
        try:
            return await self._ask(*arguments, whom=route.user_id.int, fresh=False)
        except OutcomeUnknown:
            # On a new connection: the broken one may have been the first of many that are dead.
            return await self._ask(*arguments, whom=route.user_id.int, fresh=True)

    async def _ask(
        self,
        cell: Upstream,
        method: bytes,
        path: str,
        body: bytes,
        token: bytes,
        request_id: str,
        until_s: float,
        *,
        whom: int,
        fresh: bool,
    ) -> CellAnswer:
        loop = asyncio.get_running_loop()
        try:
            left_s = budget_s(until_s, loop.time())
            connection = await cell.take_in_time(left_s, Kind.IDENTITY, whom, fresh=fresh)
        except RouterRefusal:
            # The first try may have been done: that there was no second says nothing of it.
            if fresh:
                raise OutcomeUnknown("the cell stopped answering; ask again") from None
            raise
        sink = _Whole()
        now_s = loop.time()
        request = write_request(
            method=method,
            target=path.encode(),
            host=connection.server.host_header,
            route_token=token,
            request_id=request_id.encode("latin-1"),
            trace=b"",
            budget_ms=budget_ms(until_s, now_s),
            passed=[b"content-type", b": ", b"application/json", b"\r\n"] if body else [],
            body=body,
        )
        connection.send(request, sink, now_s=now_s, deadline_s=until_s)
        try:
            answer = await asyncio.shield(sink.done)
        except ConnectionError as error:
            cell.lose(connection, loop.time())
            raise OutcomeUnknown("the cell stopped answering; ask again") from error
        except asyncio.CancelledError:
            connection.abort("nobody waits any more")
            cell.lose(connection, loop.time())
            raise
        cell.figures.answered(answer.status, loop.time() - now_s)
        cell.give_back(connection, loop.time())
        return answer


class SessionAnswer(msgspec.Struct):
    refresh_token: str
    first_used_at_s: int | None = None
    """Of a refresh: when the shown token was used for the first time, by the cell's clock."""


def session_of(answer: CellAnswer) -> SessionAnswer:
    """What a session's answer is about. Raises `OutcomeUnknown` if a sick cell said something else."""
    session = decode_body(answer.body, SessionAnswer)
    if session is None:
        raise OutcomeUnknown("the cell answered with something unexpected; ask again")
    return session


def as_refusal(answer: CellAnswer) -> Exception:
    """The cell's refusal as a problem of our own: only the members that clients know."""
    try:
        document = answer.json()
        code, detail = str(document["code"]), str(document["detail"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return CellUnavailable("the cell answered with something unexpected")
    if answer.status >= 500 or answer.status not in (400, 401, 403, 404, 409, 413, 415, 422, 429):
        return CellUnavailable("the cell could not do this now")
    figures = {name: document[name] for name in ("field",) if name in document}
    return Problem(answer.status, code, detail, headers=_retry_after(answer), **figures)


def _retry_after(answer: CellAnswer) -> dict[str, str]:
    """`Retry-After` of a 429, which means nothing without it."""
    if answer.status != 429:
        return {}
    said = next((value for name, value in answer.headers if name.lower() == b"retry-after"), b"")
    wait_s = int(said) if said.isdigit() and len(said) <= _RETRY_AFTER_DIGITS_MAX else RETRY_AFTER_S
    return {"Retry-After": str(wait_s)}
