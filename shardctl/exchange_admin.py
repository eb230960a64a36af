"""Client of the exchange's operator endpoints. A tape is loaded once per name: loading it again is harmless."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

from infra.backends.backend import Backend
from infra.runtime.http_client import HttpClient, OutcomeUnknown, PeerUnreachable
from infra.security.request_name import request_name
from shardctl.errors import NotReachable, Refused
from shardctl.operator_tokens import LOOK, Purpose, Token, as_token

PLACE: Final = "exchange"
"""As tokens name it."""
TAPE_TIMEOUT_S: Final = 300.0
"""A day's tape has hundreds of thousands of rows; the exchange checks them all before it answers."""
ANSWER_TIMEOUT_S: Final = 30.0
"""For everything else."""


class ExchangeAdmin:
    """Operator calls to the exchange of one stack; open it with `open_exchange_admin`."""

    def __init__(self, http: HttpClient, url: str, token: Token) -> None:
        self._http = http
        self._url = url
        self._token = token

    async def load_tape(
        self, content: bytes, *, symbol: str, run: str, waits_for_replace: bool = False
    ) -> dict[str, Any]:
        """Load a recorded tape (LOBSTER messages, `content` in bytes). Raises Refused with the first invalid line."""
        query = urlencode({"symbol": symbol, "run": run, "waits_for_replace": str(waits_for_replace).lower()})
        return await self._call("POST", f"/operator/v1/tapes?{query}", content, timeout_s=TAPE_TIMEOUT_S)

    async def tapes(self) -> dict[str, Any]:
        """The loaded tapes."""
        return await self._call("GET", "/operator/v1/tapes")

    async def summary(self) -> dict[str, Any]:
        """Orders, sessions and prices."""
        return await self._call("GET", "/operator/v1/summary")

    async def orders(self, *, after: str, limit: int) -> dict[str, Any]:
        """What orders traded, by id, a page at a time."""
        return await self._call("GET", f"/operator/v1/orders?{urlencode({'after': after, 'limit': limit})}")

    async def named_orders(self, order_ids: Sequence[str]) -> dict[str, Any]:
        """What these orders traded; those that never came are not in the answer."""
        return await self._call("GET", f"/operator/v1/orders?{urlencode({'named': ','.join(order_ids)})}")

    async def _call(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        token = await self._token(request_name(PLACE, method, path))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/csv"}
        try:
            answer = await self._http.request(method, self._url + path, timeout_s=timeout_s, headers=headers, body=body)
        except (PeerUnreachable, OutcomeUnknown) as error:
            raise NotReachable(
                f"the exchange does not answer ({error}): `shardctl status`, `shardctl logs exchange`"
            ) from error
        try:
            document = json.loads(answer.body)
        except ValueError as error:
            raise NotReachable(f"the exchange answered {answer.status} without JSON") from error
        if answer.status >= 400 or not isinstance(document, dict):
            code, detail = document.get("code", ""), document.get("detail", "")
            raise Refused(f"the exchange refused ({answer.status} {code}): {detail}")
        return document


@asynccontextmanager
async def open_exchange_admin(backend: Backend, token: Token | Purpose = LOOK) -> AsyncIterator[ExchangeAdmin]:
    """A client of this stack's exchange, as `open_cell_admin` is of its cells."""
    async with HttpClient(connections_per_host=1) as http:
        yield ExchangeAdmin(http, backend.addresses().exchange_operator_url, as_token(backend, token))
