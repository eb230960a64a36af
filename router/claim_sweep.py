"""Finish or free sign-ups that a crash left half done.

A claim that stays pending for half a minute is asked about in its cell: the user exists, so the claim becomes
active; or does not, and after ten minutes (route tokens live five at most, so no creation can still arrive) the
email is free again. Any number of routers may sweep at once: each step is one conditional statement.
"""

import asyncio
import logging
from typing import Final

from infra.topology.identifiers import CellId
from router.cell_calls import CellCalls
from router.errors import RouterRefusal
from router.identify import Routes
from router.queries import ControlQueries, PendingClaim

_log = logging.getLogger(__name__)
FINISH_AGE_S: Final = 30.0
"""A sign-up takes a second; one that is older than its deadline several times over is left alone by its own router."""
FREE_AGE_S: Final = 600.0
"""Twice the life of a route token: no creation can still arrive."""
_BATCH: Final = 50
"""Claims in one sweep: what a crash under load leaves, few enough to ask about one by one within a pause."""


class ClaimSweep:
    """What it has done is counted in `finished` and `freed`."""

    def __init__(self, queries: ControlQueries, calls: CellCalls, routes: Routes) -> None:
        self._queries = queries
        self._calls = calls
        self._routes = routes
        self.finished = 0
        self.freed = 0

    async def run(self, every_s: float = 15.0) -> None:
        """For ever. A sweep that fails is logged, and the next one begins anew."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.sweep_once()
            except RouterRefusal as refusal:
                _log.debug("no sweep of pending sign-ups", extra={"why": refusal.detail})
            except Exception:
                _log.exception("the sweep of pending sign-ups failed")

    async def sweep_once(self, *, finish_age_s: float = FINISH_AGE_S, free_age_s: float = FREE_AGE_S) -> None:
        """Ask about the oldest pending claims. Raises `ControlUnavailable`."""
        silent: set[str] = set()
        for claim in await self._queries.pending_claims(age_s=finish_age_s, limit=_BATCH):
            if claim.cell_id in silent:
                continue  # one question to a cell that is away is enough
            try:
                exists = await self._exists(claim)
            except RouterRefusal:
                silent.add(claim.cell_id)  # the next sweep asks again
                continue
            if exists:
                self.finished += await self._queries.activate_claim(claim.email_hash, claim.user_id)
            elif exists is False and claim.age_s >= free_age_s:
                self.freed += await self._queries.free_claim(claim.email_hash, claim.user_id, age_s=free_age_s)

    async def _exists(self, claim: PendingClaim) -> bool | None:
        """None: the cell's answer says neither."""
        route = self._routes.to_cell(claim.user_id, CellId(claim.cell_id))
        answer = await self._calls.get(route, "/v1/account", request_id="router-claim-sweep")
        if answer.status in (200, 421):  # 421: the user existed here and has moved
            return True
        return False if answer.status == 404 else None
