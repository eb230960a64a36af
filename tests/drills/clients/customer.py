"""A customer whom a Python client plays: what they do, whichever client carries it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

ORDER = {"symbol": "WMT", "side": "buy", "type": "limit", "qty": "1", "limit_price": "75.00"}
Carry = Callable[[str, str, dict[str, str], "bytes | None"], Awaitable[tuple[int, "dict[str, str]", bytes]]]
"""Method, URL, headers, body -> status, headers with small names, body."""


class Customer:
    def __init__(self, base: str, name: str, carry: Carry) -> None:
        self._base = base
        self._name = name
        self._carry = carry
        self.token = ""
        self._keys = 0

    def new_key(self) -> str:
        self._keys += 1
        return f"{self._name}-{self._keys}"

    async def ask(
        self, method: str, path: str, *statuses: int, body: object = None, key: str | None = None, **headers: str
    ) -> tuple[Any, dict[str, str]]:
        named = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key is not None:
            named["X-Idempotency-Key"] = key
        if body is not None:
            named["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        status, said, text = await self._carry(method, self._base + path, named | headers, content)
        if status not in statuses:
            raise SystemExit(f"{method} {path}: {status} {text!r}")
        return json.loads(text) if text else None, said

    async def page(self, path: str, id_field: str) -> list[str]:
        found: list[str] = []
        token: str | None = ""
        while token is not None:
            said, _ = await self.ask("GET", f"{path}?limit=2{token and '&page_token=' + quote(token)}", 200)
            found += [item[id_field] for item in said["items"]]
            token = said["next_page_token"]
        return found

    async def trade(self, requests: int = 200) -> dict[str, Any]:
        """Sign up, trade, cancel, page, and so many requests. What they saw, as a JSON object."""
        person = {"email": f"{self._name}@example.com", "password": "correct horse battery"}
        await self.ask("POST", "/v1/users", 201, body=person, key=self.new_key())
        said, _ = await self.ask("POST", "/v1/tokens", 200, body={**person, "grant_type": "password"})
        self.token = said["access_token"]
        await self.ask("POST", "/v1/deposits", 201, body={"amount": "1000"}, key=self.new_key(), Expect="100-continue")
        placed = []
        for _ in range(5):
            key = self.new_key()
            first, _ = await self.ask("POST", "/v1/orders", 201, body=ORDER, key=key)
            again, headers = await self.ask("POST", "/v1/orders", 201, body=ORDER, key=key)
            if again["order_id"] != first["order_id"] or "idempotency-replayed" not in headers:
                raise SystemExit("a repeat is not answered as one")
            placed.append(first["order_id"])
        await self.ask("DELETE", f"/v1/orders/{placed[0]}", 200, 202, key=self.new_key())
        await self.ask("HEAD", "/v1/account", 200)
        listed = await self.page("/v1/orders", "order_id")
        entries = len(await self.page("/v1/ledger", "entry_id"))
        answered = 0
        for number in range(requests):
            if number % 4:
                await self.ask("GET", "/v1/account", 200)
            else:
                await self.ask("POST", "/v1/deposits", 201, body={"amount": "1"}, key=self.new_key())
            answered += 1
        return {
            "placed": placed, "listed": listed, "entries": entries, "answered": answered, "cash": await self.cash()
        }  # fmt: skip

    async def cash(self) -> str:
        account, _ = await self.ask("GET", "/v1/account", 200)
        return str(account["cash"])
