"""How long a request may wait for a full cell: by how long the queue has been standing, not by its length. Pure.

Facebook's rule of two timeouts ("Fail at Scale", after CoDel): a queue that was empty within the last `wait_s` is a
burst that drains, and whoever joins it may wait that long. One that was not is a standing queue: it only makes every
answer late, so whoever joins it may wait `target_s`, and it empties.
"""


class QueueTime:
    __slots__ = ("_stands_since_s", "_target_s", "_wait_s")

    def __init__(self, *, wait_s: float, target_s: float) -> None:
        self._wait_s = wait_s
        self._target_s = min(target_s, wait_s)
        self._stands_since_s = 0.0

    def limit_s(self, now_s: float, *, is_empty: bool) -> float:
        """For who joins the queue now; `is_empty` before they do."""
        if is_empty:
            self._stands_since_s = now_s
        return self._target_s if now_s - self._stands_since_s > self._wait_s else self._wait_s
