"""Client of cells' operator endpoints. shardctl never opens a cell's database: it asks the cell.

A cell with several app servers is asked through the first that accepts a connection. A request that was sent is never
sent again, because its outcome is not known.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from infra.backends.backend import Backend
from infra.runtime.http_client import BODY_BYTES_MAX, HttpAnswer, HttpClient, OutcomeUnknown, PeerUnreachable
from infra.security.request_name import request_name
from shardctl.errors import NotReachable, Refused
from shardctl.operations.errors import LeaseLost
from shardctl.operator_tokens import LOOK, Purpose, Token, as_token

_FORMER_LEADER = "FORMER_LEADER"
"""A cell's code for a step of an operation whose lease is over."""
ANSWER_TIMEOUT_S = 30.0
"""For answers that read or change a few rows; long work (checks, archive) has limits of its own."""
PAGE = 500
"""Rows per answer, the most that a cell gives."""
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class CellRefused(Refused):
    """A cell said no: its HTTP status and code."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CellAdmin:
    """Operator calls to the cells of one stack; open it with `open_cell_admin`."""

    def __init__(self, http: HttpClient, operator_urls: dict[str, tuple[str, ...]], token: Token) -> None:
        """`token` is asked for each request: a walk over all users outlives one, and may meet a rotation of keys."""
        self._http = http
        self._operator_urls = operator_urls
        self.token = token

    async def summary(self, cell: str) -> dict[str, Any]:
        return await self.call(cell, "GET", "/operator/v1/summary")

    async def checks(self, cell: str, *, timeout_s: float = 300.0) -> dict[str, Any]:
        """Run every ledger check; they read whole tables, so they may take long."""
        return await self.call(cell, "POST", "/operator/v1/checks", timeout_s=timeout_s)

    async def call(
        self,
        cell: str,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> dict[str, Any]:
        """The decoded answer. Raises NotReachable, Refused with the cell's code and detail, LeaseLost."""
        asked = _Asked(method, path, *_encoded(body, headers), timeout_s)
        return _decoded(cell, await self._answer(cell, asked))

    async def call_for_bytes(
        self, cell: str, path: str, body: object, *, timeout_s: float, headers: Mapping[str, str], bytes_max: int
    ) -> tuple[bytes, Mapping[str, str]]:
        """The answer's bytes as they are, and its headers. Raises as `call`; NotReachable for a longer answer too."""
        answer = await self._answer(cell, _Asked("POST", path, *_encoded(body, headers), timeout_s, bytes_max))
        if answer.status >= 400:
            _decoded(cell, answer)  # raises
        return answer.body, answer.headers

    async def send_bytes(
        self, cell: str, path: str, content: bytes, *, timeout_s: float, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Raises as `call`."""
        told = {**headers, "Content-Type": "application/octet-stream"}
        return _decoded(cell, await self._answer(cell, _Asked("POST", path, told, content, timeout_s)))

    async def _answer(self, cell: str, asked: "_Asked") -> HttpAnswer:
        urls = self._operator_urls.get(cell)
        if not urls:
            raise Refused(f"there is no cell {cell}; there are: {', '.join(self._operator_urls)}")
        problem: Exception | None = None
        for url in urls:
            try:
                token = await self.token(request_name(cell, asked.method, asked.path))
                return await self._request(url, token, asked)
            except PeerUnreachable as error:  # nothing was sent: the next process may be asked
                problem = error
            except OutcomeUnknown as error:
                raise NotReachable(f"{cell} did not answer {asked.method} {asked.path}: {error}") from error
        raise NotReachable(f"no api of {cell} answers ({problem}): `shardctl status`, `shardctl logs {cell}-api-1`")

    async def rows(self, cell: str, path: str) -> AsyncIterator[dict[str, Any]]:
        """Of a list, page by page. One page is one instant; all pages together are not. Raises as `call`."""
        query = f"?limit={PAGE}"
        while True:
            page = await self.call(cell, "GET", path + query)
            for row in page["items"]:
                yield row
            if page["next_page_token"] is None:
                return
            query = f"?limit={PAGE}&page_token={page['next_page_token']}"

    async def _request(self, url: str, token: str, asked: "_Asked") -> HttpAnswer:
        headers = {**asked.headers, "Authorization": f"Bearer {token}"}
        return await self._http.request(
            asked.method,
            url + asked.path,
            timeout_s=asked.timeout_s,
            headers=headers,
            body=asked.content,
            answer_bytes_max=asked.answer_bytes_max,
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, whichever of a cell's servers answers it."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes | None
    timeout_s: float
    answer_bytes_max: int = BODY_BYTES_MAX


def _encoded(body: object, headers: Mapping[str, str]) -> tuple[Mapping[str, str], bytes | None]:
    if body is None:
        return headers, None
    return {**headers, "Content-Type": "application/json"}, json.dumps(body).encode()


def _decoded(cell: str, answer: HttpAnswer) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except ValueError as error:
        raise NotReachable(f"{cell} answered {answer.status} without JSON") from error
    if answer.status == 409 and document.get("code") == _FORMER_LEADER:
        raise LeaseLost(f"{cell}: {document['detail']}")
    if answer.status >= 400 or not isinstance(document, dict):
        code, detail = (str(document.get(name, "")) for name in ("code", "detail"))
        raise CellRefused(f"{cell} refused ({answer.status} {code}): {detail}", answer.status, code)
    return document


@asynccontextmanager
async def open_cell_admin(backend: Backend, token: Token | Purpose = LOOK) -> AsyncIterator[CellAdmin]:
    """A client of all cells of this stack, by default for somebody who looks; with a purpose, in the name of the person
    at this terminal. Raises BackendError without a stack; its calls also NotAllowed, KeyFileInvalid."""
    addresses = backend.addresses()
    urls = {cell.name: addresses.operator_urls(cell) for cell in addresses.spec.cells}
    async with HttpClient(connections_per_host=4) as http:
        yield CellAdmin(http, urls, as_token(backend, token))
