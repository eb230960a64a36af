"""HTTP for persons elsewhere: strangers connect here, so what they may cost before they are known is bounded.

A head that does not end is refused, and a connection without a request under way is closed: uvicorn bounds neither, and
this process also leads. A command opens one connection for each request, so it loses nothing.
"""

from typing import Any, Final

from infra.runtime.http_port import HttpPort

HEAD_BYTES_MAX: Final = 65_536
"""Of a request's line and fields together, as nginx's four buffers of 16 KiB hold; a token of an issuer has 2 KiB."""
IDLE_S: Final = 10.0
"""Between two looks at a connection: one that had nothing under way at both, with no request in between, is closed. A
head that trickles in is nothing under way."""


class PersonsPort(HttpPort):
    """One connection of somebody who is not known yet."""

    _unfinished_bytes = 0
    """Since the last complete head, or the last piece of a body."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(IDLE_S, self._close_if_idle, None)

    def data_received(self, data: bytes) -> None:
        self._unfinished_bytes += len(data)
        super().data_received(data)
        if self._unfinished_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        self._unfinished_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished_bytes = 0
        super().on_body(body)

    def _close_if_idle(self, before: object) -> None:
        """`before`: the request that was there at the last look."""
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request
        is_idle = cycle is None or cycle.response_complete
        if is_idle and self.cycle is before:
            self.transport.close()
        else:
            self.loop.call_later(IDLE_S, self._close_if_idle, self.cycle)
