"""Named places where a test can make the process die, stall or fail.

Inert unless the environment says otherwise: `FAULT_POINTS="name=kill,other=stall:2.5,third=fail"`, each optionally
limited to one hit by a marker file (`name=kill@/path/once`: the file is created just before the action, and while
it exists the point is inert; so a restarted process does not die for ever). Production sets nothing and pays one
dictionary look-up.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class FaultInjected(Exception):
    """A test asked this point to fail."""


@dataclass(frozen=True)
class _Action:
    verb: str
    seconds: float
    once: Path | None


def _parse(text: str) -> dict[str, _Action]:
    actions = {}
    for item in filter(None, text.split(",")):
        name, _, rest = item.partition("=")
        rest, _, marker = rest.partition("@")
        verb, _, seconds = rest.partition(":")
        if verb not in {"kill", "stall", "fail"}:
            raise ValueError(f"FAULT_POINTS: {name!r} has no known action ({verb!r}); use kill, stall:SECONDS or fail")
        actions[name.strip()] = _Action(verb, float(seconds or 0), Path(marker) if marker else None)
    return actions


class FaultPoints:
    """The points that this process acts on."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._actions = _parse(environ.get("FAULT_POINTS", ""))

    async def reach(self, name: str) -> None:
        """Say that the code is at `name`; usually nothing happens. Raises `FaultInjected` where a test asked for it."""
        if not self._actions:
            return
        action = self._actions.get(name)
        if action is None:
            return
        if action.once is not None:
            if action.once.exists():
                return
            action.once.touch()
        if action.verb == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action.verb == "fail":
            raise FaultInjected(name)
        await asyncio.sleep(action.seconds)
