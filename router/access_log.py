"""Requests as JSON lines: one in so many, and every answer of 500 and above, never more than so many a second.

Says who asked what of which cell, how it ended and how long it took. Never a token, a query or a body.
"""

import logging
from time import monotonic
from typing import TYPE_CHECKING

from router.settings import AccessLogSettings

if TYPE_CHECKING:
    from router.forward import ForwardedRequest

_log = logging.getLogger("router.access")


class AccessLog:
    def __init__(self, settings: AccessLogSettings) -> None:
        self._every = settings.one_in
        self._lines_per_s = settings.lines_per_s_max
        self._second = 0
        self._lines = 0
        self._left = settings.one_in
        self.left_out = 0

    def ended(self, request: "ForwardedRequest", status: int, size: int, code: str = "") -> None:
        """A request was answered."""
        self._left -= 1
        if self._left <= 0 or status >= 500:
            self._write(request, status, size, code)

    def _write(self, request: "ForwardedRequest", status: int, size: int, code: str) -> None:
        if self._left <= 0:
            self._left = self._every
        now_s = monotonic()
        if int(now_s) != self._second:
            self._second, self._lines = int(now_s), 0
        if self._lines >= self._lines_per_s:
            self.left_out += 1
            return
        self._lines += 1
        route = request.found_route
        fields = {
            "method": request.method.decode("latin-1"),
            "path": request.target.partition(b"?")[0].decode("latin-1"),
            "status": status,
            "bytes": size,
            "duration_ms": round((now_s - request.received_s) * 1000, 3),
            "request_id": request.head.request_id.decode("latin-1"),
            "trace_id": request.head.trace[3:35].decode("latin-1"),
            "address": request.edge.address,
            "user_id": None if route is None else str(route.user_id),
            "cell": None if route is None else route.cell.label,
            "map_epoch": None if route is None else route.shard_map.epoch,
            "one_in": self._every,
        }
        if code:
            fields["code"] = code
        _log.info("request", extra=fields)
