"""Ask the control service although it may be restarting this second: a bounded wait instead of exit code 3.

It is waited for only while its stack runs: somebody is there who starts it again. Asked again is what was never sent,
and what may be asked twice: a question, or a request with an idempotency key. Another request whose answer was lost is
not sent again, because its outcome is not known.
"""

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from shardctl.control_client import ControlClient
from shardctl.errors import NotReachable, NotSent
from shardctl.release import describe_skew, own_release, parse_release

RESTART_S: Final = 20.0
"""A restart takes some three seconds of processor time, on a busy machine several times that; who waits longer wants
to know that nobody answers."""
PAUSE_S: Final = 0.2
"""Between two attempts: not noticed, and no load."""

_Answer = TypeVar("_Answer")


class PatientControl:
    """As `ControlClient`, whose single attempts it makes."""

    def __init__(
        self,
        client: ControlClient,
        *,
        runs: Callable[[], bool],
        waiting: Callable[[str], None],
        skewed: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`runs`: does the stack run? `waiting` is told once, in words, that an answer takes longer;
        `skewed` once, that the service is of another release."""
        self.client = client
        """For who has patience of their own (`watching.py`)."""
        self._runs = runs
        self._waiting = waiting
        self._skewed: Callable[[str], None] | None = skewed
        self._monotonic = monotonic
        self._pause = pause

    def get(self, path: str) -> dict[str, Any]:
        return self._ask(lambda: self.client.get(path), again=NotReachable)

    def post(self, path: str, body: object, *, is_repeatable: bool = False) -> dict[str, Any]:
        """`is_repeatable`: twice has the effect of once."""
        return self._ask(lambda: self.client.post(path, body), again=NotReachable if is_repeatable else NotSent)

    def _ask(self, once: Callable[[], _Answer], *, again: type[NotReachable]) -> _Answer:
        until_s: float | None = None
        while True:
            try:
                answer = once()
            except again:
                if until_s is None:
                    if not self._runs():
                        raise
                    until_s = self._monotonic() + RESTART_S
                    self._waiting(f"the control service does not answer; it is given {RESTART_S:.0f} s to come back")
                elif self._monotonic() >= until_s:
                    raise
            else:
                self._tell_skew()
                return answer
            self._pause(PAUSE_S)

    def _tell_skew(self) -> None:
        sentence = describe_skew(own_release(), parse_release(self.client.answered_by))
        if sentence and self._skewed:
            self._skewed(sentence)
            self._skewed = None
