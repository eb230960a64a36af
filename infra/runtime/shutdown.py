"""Signals to an orderly end.

A process asks for one `Shutdown`, waits on it, and then drains in the order its `app.py` or loop says. A second signal
does nothing more: the supervisor's kill is the hard limit, and recovery from a kill is ordinary here.
"""

import asyncio
import signal


class Shutdown:
    """An event that the first SIGTERM or SIGINT sets."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def install(self) -> None:
        """Listen to SIGTERM and SIGINT on the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked.set)

    def ask(self) -> None:
        """Ask for the end from inside, as a signal would."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    async def wait(self) -> None:
        await self._asked.wait()

    async def sleep(self, seconds: float) -> bool:
        """Sleep, but wake at once when the end is asked for. True if it was."""
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        return True
