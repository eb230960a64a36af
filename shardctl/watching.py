"""Follow an operation to its end: every event once, in order, across restarts of the service."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from shardctl.control_client import ControlClient
from shardctl.errors import NotReachable, StillRunning

PAUSE_S: Final = 0.25
"""Between two questions: as fast as a person reads."""
AWAY_S: Final = 60.0
"""How long the service may be away while it is watched: its restart, or another's turn to lead, takes seconds."""


def follow(
    client: ControlClient,
    number: int,
    *,
    until_s: float | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Events of the operation, then the operation itself (it has no `event`) when it has ended.

    `until_s`: on the monotonic clock; then StillRunning. Raises NotReachable when the service stays away.
    """
    after, answered_s = 0, monotonic()
    while True:
        try:
            found = client.get(f"/v1/operations/{number}/events?after={after}")
        except NotReachable:
            if monotonic() - answered_s > AWAY_S:
                raise
        else:
            answered_s = monotonic()
            events = found.pop("events")
            yield from events
            after = max((event["event_id"] for event in events), default=after)
            if found["exit_code"] is not None and not events:
                yield found
                return
        if until_s is not None and monotonic() >= until_s:
            raise StillRunning(f"operation {number} goes on: `shardctl operations watch {number}`")
        pause(PAUSE_S)
