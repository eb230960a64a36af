"""Wait for something that another task or process brings about."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_S = 30.0


async def eventually(
    holds: Callable[[], Awaitable[bool]], *, within_s: float = PATIENCE_S, every_s: float = 0.02
) -> None:
    """Return when it holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(every_s)
