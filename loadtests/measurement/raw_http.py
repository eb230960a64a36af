"""Requests as bytes, and where the answer to one ends: just enough HTTP/1.1 for a client that costs almost nothing.

Only what our own servers send is understood: a length, or chunks without trailers. Anything else is `ConnectionBroken`.
"""

from urllib.parse import urlsplit

HEAD_BYTES_MAX = 64 * 1024
"""Of an answer; our servers send less than a kilobyte, so more means that it is no HTTP."""


class ConnectionBroken(Exception):
    """A connection ended, or its bytes were no HTTP/1.1 answer, while a request was on its way."""


def build_request(method: str, url: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    parts = urlsplit(url)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body


def answer_end(held: bytes) -> int | None:
    """Where the one answer in `held` ends, or None if more must come. Raises ConnectionBroken."""
    head_end = held.find(b"\r\n\r\n")
    if head_end < 0:
        if len(held) > HEAD_BYTES_MAX:
            raise ConnectionBroken("an answer's head does not end")
        return None
    if not held.startswith(b"HTTP/1.1 "):
        raise ConnectionBroken(f"not an HTTP/1.1 answer: {held[:40]!r}")
    head = held[:head_end].lower()
    body_at = head_end + 4
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        line_end = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : line_end if line_end >= 0 else head_end])
        return body_at + length if len(held) >= body_at + length else None
    if b"\r\ntransfer-encoding: chunked" in head:
        return _chunks_end(held, body_at)
    return body_at


def _chunks_end(held: bytes, at: int) -> int | None:
    while True:
        line_end = held.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(held[at:line_end].partition(b";")[0], 16)
        at = line_end + 2 + size + 2
        if len(held) < at:
            return None
        if size == 0:
            return at
