"""The clients' connections of one router: how many there may be, and how all are swept, and drained at the end."""

import asyncio
import logging
from typing import Final, Protocol

from router.settings import EdgeSettings

_log = logging.getLogger(__name__)
_ACCEPTED_S: Final = 0.1
"""The event loop accepts a connection some rounds before it makes its protocol: those are on their way to `admit`."""


class Connected(Protocol):
    """One of them."""

    address: str

    def sweep(self, now_s: float) -> None: ...

    def drain(self) -> None: ...

    def abort(self) -> None: ...


class ClientRegistry:
    """The limits are `clients_max` and `clients_per_address_max`; who was over one is counted in `refused`."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._clients: set[Connected] = set()
        self._of_address: dict[str, int] = {}
        self._is_empty = asyncio.Event()
        self._is_draining = False
        self.refused = 0

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def addresses(self) -> int:
        return len(self._of_address)

    def clients(self) -> list[Connected]:
        return [*self._clients]

    def admit(self, client: Connected) -> bool:
        """A new connection, if there are not too many of all, or of its address."""
        of_address = self._of_address.get(client.address, 0)
        settings = self._settings
        if len(self._clients) >= settings.clients_max or of_address >= settings.clients_per_address_max:
            self.refused += 1
            return False
        self._clients.add(client)
        self._of_address[client.address] = of_address + 1
        if self._is_draining:
            client.drain()
        return True

    def dismiss(self, client: Connected) -> None:
        """It is gone; also one that was not admitted."""
        if client not in self._clients:
            return
        self._clients.remove(client)
        left = self._of_address[client.address] - 1
        if left:
            self._of_address[client.address] = left
        else:
            del self._of_address[client.address]
        if not self._clients:
            self._is_empty.set()

    def sweep(self, now_s: float) -> None:
        """Once a second or so for all, so that a connection needs no timer of its own."""
        for client in self.clients():
            client.sweep(now_s)

    async def drain(self, within_s: float) -> None:
        """Every client gets its answers and is let go, also who was accepted in this moment; whoever is left by then is
        cut off. Called when nothing is accepted any more."""
        self._is_draining = True
        for client in self.clients():
            client.drain()
        await asyncio.sleep(_ACCEPTED_S)
        try:
            async with asyncio.timeout(within_s):
                while self._clients:
                    self._is_empty.clear()
                    await self._is_empty.wait()
        except TimeoutError:
            _log.warning("clients are cut off at the end of the drain", extra={"clients": len(self._clients)})
            for client in self.clients():
                client.abort()
