"""Client of cells' operator endpoints. shardctl never opens a cell's database: it asks the cell.

A cell with several app servers is asked through the first that accepts a connection. A request that was sent is never
sent again, because its outcome is not known.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from infra.backends.backend import Backend
from infra.runtime.http_client import HttpAnswer, HttpClient, OutcomeUnknown, PeerUnreachable
from infra.security.keys import OPERATOR_FILE, load_key_ring
from infra.security.operator_token import sign_operator_token
from infra.security.roles import Role
from shardctl.errors import NotReachable, Refused
from shardctl.operations.errors import LeaseLost
from shardctl.stack.current import actor, stack_clock

TOKEN_LIFETIME_S = 300
"""Of the operator token of one request. It is checked when a request arrives, so a long check outlives it."""
_FORMER_LEADER = "FORMER_LEADER"
"""A cell's code for a step of an operation whose lease is over."""
ANSWER_TIMEOUT_S = 30.0
"""For answers that read or change a few rows; long work (checks, archive) has limits of its own."""


class CellRefused(Refused):
    """A cell said no: its HTTP status and code."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CellAdmin:
    """Operator calls to the cells of one stack; open it with `open_cell_admin`."""

    def __init__(self, http: HttpClient, operator_urls: dict[str, tuple[str, ...]], token: Callable[[], str]) -> None:
        """`token` is asked for each request: a walk over all users outlives one, and may meet a rotation of keys."""
        self._http = http
        self._operator_urls = operator_urls
        self._token = token

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
                answer = await self._request(method, url + path, body, timeout_s)
            except PeerUnreachable as error:  # nothing was sent: the next process may be asked
                problem = error
            except OutcomeUnknown as error:
                raise NotReachable(f"{cell} did not answer {method} {path}: {error}") from error
            else:
                return _decoded(cell, answer)
        raise NotReachable(f"no api of {cell} answers ({problem}): `shardctl status`, `shardctl logs {cell}-api-1`")

    async def _request(self, method: str, url: str, body: object, timeout_s: float) -> HttpAnswer:
        headers = {"Authorization": f"Bearer {self._token()}"}
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


def operator_token(backend: Backend, *, subject: str | None = None, fence: int | None = None) -> str:
    """A short-lived token for the person at this terminal, or for a step of an operation that `subject` asked for."""
    ring = load_key_ring(backend.keys_folder / OPERATOR_FILE)
    expires_at_s = int(stack_clock(backend).epoch_s()) + TOKEN_LIFETIME_S
    # Who holds the key file is the machine's owner.
    role = Role.ADMIN if fence is None else Role.OPERATOR
    return sign_operator_token(ring, subject=subject or actor(), role=role, expires_at_s=expires_at_s, fence=fence)


@asynccontextmanager
async def open_cell_admin(
    backend: Backend, *, subject: str | None = None, fence: int | None = None
) -> AsyncIterator[CellAdmin]:
    """A client of all cells of this stack, by default in the name of the person at this terminal; `fence`: the lease of
    an operation's step. Raises BackendError without a stack, KeyFileInvalid."""
    addresses = backend.addresses()
    urls = {cell.name: addresses.operator_urls(cell) for cell in addresses.spec.cells}
    async with HttpClient(connections_per_host=4) as http:
        yield CellAdmin(http, urls, lambda: operator_token(backend, subject=subject, fence=fence))
