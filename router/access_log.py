"""Requests as JSON lines: one in so many, and every answer of 500 and above, never more than so many a second.

Says who asked what of which cell, how it ended and how long it took. Never a token, a query or a body.
"""

import logging
from time import monotonic

from router.identify import Route
from router.request import Request
from router.settings import AccessLogSettings

_log = logging.getLogger("router.access")


class AccessLog:
    """Asked with `picks` for every answer, in order; `dropped` counts the lines over the limit."""

    def __init__(self, settings: AccessLogSettings) -> None:
        self._every = settings.one_in
        self._lines_per_s = settings.lines_per_s_max
        self._second = 0
        self._lines = 0
        self._left = settings.one_in
        self.dropped = 0

    def picks(self, status: int) -> bool:
        """Asked once for every answer: is this one written? The line is put together only then."""
        self._left -= 1
        return self._left <= 0 or status >= 500

    def write(
        self, request: Request, address: str, route: Route | None, status: int, size_bytes: int, code: str
    ) -> None:
        """`size_bytes`: of the answer's body, -1 if it was streamed; `code`: of our own refusal, else empty."""
        if self._left <= 0:
            self._left = self._every
        now_s = monotonic()
        if int(now_s) != self._second:
            self._second, self._lines = int(now_s), 0
        if self._lines >= self._lines_per_s:
            self.dropped += 1
            return
        self._lines += 1
        fields = {
            "method": request.method.decode("latin-1"),
            "path": request.target.partition(b"?")[0].decode("latin-1"),
            "status": status,
            "bytes": size_bytes,
            "duration_ms": round((now_s - request.received_s) * 1000, 3),
            "request_id": request.request_id.decode("latin-1"),
            "trace_id": request.trace[3:35].decode("latin-1"),
            "address": address,
            "user_id": None if route is None else str(route.user_id),
            "cell": None if route is None else route.cell.label,
            "map_epoch": None if route is None else route.shard_map.epoch,
            "one_in": self._every,
        }
        if code:
            fields["code"] = code
        _log.info("request", extra=fields)
