"""A day on which the control database, Redis and Kafka are all dead: routers run, restart, and serve every known user.

The clock is shifted hour by hour. Customers have nothing but what the router gives them: each hour the last refresh
token buys the next tokens, since every access token, route token and remembered route has turned over meanwhile.
"""

import asyncio
import json
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.security.route_token import RouteClaims
from tests.support.account_cell import AccountCell
from tests.support.routers import RouterUnderTest, running_router
from tests.support.stub_cell import SeenRequest, answer

pytestmark = pytest.mark.anyio
RESTARTS_AT = (0, 6, 12, 18)


@dataclass
class Day:
    """The shifted clock, and the cells as they look at it."""

    hour: int = 0
    refresh_tokens: dict[uuid.UUID, str] = field(default_factory=dict)
    accounts: dict[str, AccountCell] = field(default_factory=dict)
    claims: list[RouteClaims] = field(default_factory=list)
    halts_left: int = 0

    def now(self) -> float:
        return time.time() + self.hour * 3600.0

    def live_in(self, router: RouterUnderTest) -> None:
        """The cells of this router; what they know of their customers outlives its restart."""
        for name, cell in router.cells.items():
            known = self.accounts.get(name)
            account = self.accounts[name] = AccountCell(cell, now=self.now)
            if known is not None:
                account.passwords, account.refresh_tokens = known.passwords, known.refresh_tokens

            async def behave(
                request: SeenRequest, writer: asyncio.StreamWriter, account: AccountCell = account
            ) -> None:
                self.claims.append(account.cell.claims(request, int(self.now())))
                if request.target.startswith("/internal/"):
                    await account.behave(request, writer)
                elif self.halts_left:
                    self.halts_left -= 1
                    lease_ends_at = datetime.fromtimestamp(self.now() + 0.02, UTC).isoformat()
                    writer.write(answer(503, {"code": "USER_HALTED", "lease_ends_at": lease_ends_at}))
                else:
                    writer.write(answer(200, {"cell": account.cell.cell_id}))

            cell.behave = behave

    async def tokens(self, router: RouterUnderTest, user_id: uuid.UUID) -> Any:
        body = {"grant_type": "refresh_token", "refresh_token": self.refresh_tokens[user_id]}
        got = await router.ask("POST", "/v1/tokens", body=json.dumps(body).encode())
        assert got.status == 200, got
        self.refresh_tokens[user_id] = got.json()["refresh_token"]
        return got.json()["access_token"]


async def test_a_day_without_anybody_but_the_cells(tmp_path: Path) -> None:
    day, stale = Day(), ""
    users: dict[uuid.UUID, str] = {}
    async with AsyncExitStack() as stack:
        for day.hour in range(25):
            if day.hour in RESTARTS_AT:
                await stack.aclose()
                router = await stack.enter_async_context(running_router(tmp_path, now=day.now))
                day.live_in(router)
            if not users:
                users = {router.user_of(cell_id): cell_id for cell_id in router.cells}
                thrown_out = router.user_of("cell-1")
                for user_id, cell_id in [*users.items(), (thrown_out, "cell-1")]:
                    day.accounts[cell_id].passwords[user_id] = "correct horse"
                    token = f"{user_id.hex}.{uuid.uuid4().hex}.{'x' * 43}"
                    day.refresh_tokens[user_id] = day.accounts[cell_id].refresh_tokens[user_id] = token
                revoked = await day.tokens(router, thrown_out)
                router.router.revoked._merge({thrown_out: int(day.now()) + 5})
                await router.router.revoked._keep()
            for user_id, cell_id in users.items():
                token = await day.tokens(router, user_id)
                day.halts_left = 2 if cell_id == "cell-2" else 0
                for key in ("a", "b"):  # held until its lease ends by the shifted clock, then done; then by the cache
                    got = await router.ask("POST", "/v1/orders", token=token, key=f"{day.hour}{key}", body=b"{}")
                    assert (got.status, got.json()) == (200, {"cell": cell_id})
                assert not day.halts_left
                assert (day.claims[-1].user_id, day.claims[-1].cell_id) == (user_id, cell_id)
                assert day.now() < day.claims[-1].expires_at_s <= day.now() + 300
            assert (await router.ask("GET", "/v1/account", token=revoked)).status == 401
            if stale:
                assert (await router.ask("GET", "/v1/account", token=stale)).code == "TOKEN_EXPIRED"
            stale = token
            held = router.router.watcher.watch
            assert (held.source, held.shard_map and held.shard_map.epoch) == ("file", 1)
