"""Tell the next cell that a user has left: the certificate is told again until that cell has activated the user.

A mover tells it first, within milliseconds. If the mover dies between the departure and the activation, nobody else
would, and the user would belong to nobody; so every app server of the source looks for departures that the target has
not acknowledged, and tells them. Told twice it does nothing. The control plane is not needed for it; the target is.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Final, LiteralString

from cell.move.ownership import acknowledge
from infra.runtime.database import Pool
from infra.runtime.http_client import HttpAnswer, HttpClient, OutcomeUnknown, PeerUnreachable
from infra.runtime.procedures import DatabaseFailure, call, connected
from infra.security.keys import KeySource
from infra.topology.identifiers import CellId

PATH: Final = "/operator/v1/certificates"
PERIOD_S: Final = 1.0
"""Between two looks. A user who waits for it waits two or three seconds: a mover's death is rare."""
AGE: Final = "2 seconds"
"""Of a departure that a mover has had time to finish itself."""
_ANSWER_S: Final = 5.0
"""For an activation: some milliseconds, and the wait for a user's row."""
_AT_ONCE: Final = 100
"""Departures of one look: a drain that died in its middle leaves as many as it had under way, a few."""
_UNACKNOWLEDGED: Final[LiteralString] = """
select user_id, move_id, to_cell, certificate from brokerage.departures
 where departed_at < clock_v1() - %s::interval and activated_at is null order by departed_at limit %s
"""
_log = logging.getLogger(__name__)

Addresses = Mapping[CellId, tuple[str, ...]]


class CertificateDelivery:
    """Of one app server. `addresses`: where each cell's app servers listen for other cells."""

    def __init__(self, pool: Pool, addresses: KeySource[Addresses], http: HttpClient) -> None:
        self._pool = pool
        self._addresses = addresses
        self._http = http

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.deliver()
            except DatabaseFailure as error:
                _log.warning("departures could not be read", extra={"detail": str(error)})

    async def deliver(self) -> int:
        """One look; how many were activated by it. Raises a DatabaseFailure."""
        told = 0
        for user_id, move_id, to_cell, certificate in await call(self._pool, _UNACKNOWLEDGED, [AGE, _AT_ONCE]):
            answer = await self._tell(to_cell, certificate)
            if answer is None or answer.status != 200:
                said = "no answer" if answer is None else answer.body[:300].decode(errors="replace")
                _log.warning(
                    "a departure is not acknowledged: the user waits for the next cell",
                    extra={"user_id": str(user_id), "to": to_cell, "move_id": str(move_id), "detail": said},
                )
                continue
            async with connected(self._pool) as connection:
                await acknowledge(connection, user_id, move_id, "activated")
            told += 1
        return told

    async def _tell(self, to_cell: str, certificate: str) -> HttpAnswer | None:
        body = json.dumps({"certificate": certificate}).encode()
        for url in self._addresses.current().get(CellId(to_cell), ()):
            try:
                return await self._http.request(
                    "POST",
                    url + PATH,
                    timeout_s=_ANSWER_S,
                    headers={"Content-Type": "application/json"},
                    body=body,
                    answer_bytes_max=65_536,
                )
            except (PeerUnreachable, OutcomeUnknown):
                continue
        return None
