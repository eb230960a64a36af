"""Client of cells' operator endpoints. shardctl never opens a cell's database: it asks the cell.

A cell with several app servers is asked through the first that accepts a connection. A request that was sent is never
sent again, because its outcome is not known.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from infra.backends.backend import Backend
from infra.runtime.http_client import HttpAnswer, HttpClient, OutcomeUnknown, PeerUnreachable
from infra.security.operator_token import request_name
from shardctl.errors import NotReachable, Refused
from shardctl.operations.errors import LeaseLost
from shardctl.operator_tokens import LOOK, Purpose, Token, as_token

_FORMER_LEADER = "FORMER_LEADER"
"""A cell's code for a step of an operation whose lease is over."""
ANSWER_TIMEOUT_S = 30.0
"""For answers that read or change a few rows; long work (checks, archive) has limits of its own."""
PAGE = 500
"""Rows per answer, the most that a cell gives."""


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
        self, cell: str, method: str, path: str, body: object = None, *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        """The decoded answer. Raises NotReachable, Refused with the cell's code and detail, LeaseLost."""
        urls = self._operator_urls.get(cell)
        if not urls:
            raise Refused(f"there is no cell {cell}; there are: {', '.join(self._operator_urls)}")
        problem: Exception | None = None
        for url in urls:
            try:
                token = await self.token(request_name(cell, method, path))
                answer = await self._request(method, url + path, token, body, timeout_s)
            except PeerUnreachable as error:  # nothing was sent: the next process may be asked
                problem = error
            except OutcomeUnknown as error:
                raise NotReachable(f"{cell} did not answer {method} {path}: {error}") from error
            else:
                return _decoded(cell, answer)
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

    async def _request(self, method: str, url: str, token: str, body: object, timeout_s: float) -> HttpAnswer:
        headers = {"Authorization": f"Bearer {token}"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        return await self._http.request(method, url, timeout_s=timeout_s, headers=headers, body=content)


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
