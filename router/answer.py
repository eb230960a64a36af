"""How a cell's answer looks to the client: without what belongs to the cell's connection or only the router may say,
and framed for the client's.
"""

from collections.abc import Iterable
from typing import Final

from router.errors import STATUS_LINES

DROPPED_FROM_ANSWERS: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"upgrade",
        b"trailer",
        b"server",
        b"x-route-token",
        b"ratelimit-limit",
        b"ratelimit-remaining",
        b"ratelimit-reset",
    }
)
_BODILESS: Final = frozenset({204, 304})
"""Statuses whose answers never have a body (RFC 9110 15.3.5, 15.4.5)."""


def write_answer_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], ours: bytes, length: int | None, *, chunked: bool, last: bool
) -> list[bytes]:
    """The parts of the head. `ours`: lines that only the router says; `length`: of a body that is here whole and may
    need to be declared; `last`: the connection ends with it.

    The cell's headers are passed on but for those of its connection. Of framing the head then has one of these: chunks,
    the length that the cell declared, the length that is known here, or none (204, 304, and a stream until the end).
    """
    if status == 204:
        headers = [header for header in headers if header[0] != b"content-length"]  # RFC 9110 8.6
    line = STATUS_LINES.get(status)
    parts = [line if line is not None else b"HTTP/1.1 %d \r\n" % status]
    declared = False
    for name, value in headers:
        if name not in DROPPED_FROM_ANSWERS:
            declared = declared or name == b"content-length"
            parts += (name, b": ", value, b"\r\n")
    if chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif length is not None and not declared and status not in _BODILESS:
        parts.append(b"content-length: %d\r\n" % length)
    parts.append(ours)
    parts.append(b"connection: close\r\n\r\n" if last else b"\r\n")
    return parts
