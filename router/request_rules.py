"""May a request be read on from its head? Sizes, version, method, and whatever two readers could read differently.
Pure; the parser has refused most of it before."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from router.errors import (
    METHODS,
    BodyTooLarge,
    HeadTooLarge,
    MethodNotAllowed,
    RequestMalformed,
    RouterRefusal,
    TargetTooLong,
    VersionNotSupported,
)
from router.settings import EdgeSettings

_METHODS: Final = frozenset(method.encode() for method in METHODS)
_VERSIONS: Final = frozenset({"1.1", "1.0"})
_LENGTH_DIGITS_MAX: Final = 15


class RequestLine(NamedTuple):
    method: bytes
    target: bytes
    version: str
    takes_over: bool
    """An upgrade is asked for: what follows the head is no HTTP."""


def judge_head(
    line: RequestLine, headers: Sequence[tuple[bytes, bytes]], head_bytes: int, settings: EdgeSettings
) -> RouterRefusal | None:
    """Why the connection must end here; names are in lower case."""
    if len(line.target) > settings.target_bytes_max:
        return TargetTooLong(f"a request target may have at most {settings.target_bytes_max} bytes")
    if head_bytes > settings.head_bytes_max or len(headers) > settings.header_count_max:
        return HeadTooLarge(f"at most {settings.header_count_max} headers of together {settings.head_bytes_max} bytes")
    if line.version not in _VERSIONS:
        return VersionNotSupported("HTTP/1.1 is spoken here")
    if line.method not in _METHODS:
        return MethodNotAllowed("this method is not served")
    if not line.target.startswith(b"/"):
        return RequestMalformed("the request target is not a path")
    return _judge_framing(line, headers, settings)


def _judge_framing(
    line: RequestLine, headers: Sequence[tuple[bytes, bytes]], settings: EdgeSettings
) -> RouterRefusal | None:
    hosts = encodings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            if len(value) > _LENGTH_DIGITS_MAX or int(value) > settings.body_bytes_max:
                return BodyTooLarge(f"a body may have at most {settings.body_bytes_max} bytes")
            if line.takes_over and int(value):
                return RequestMalformed("who asks for an upgrade sends no body")
        elif name == b"transfer-encoding":
            encodings += 1
            if line.takes_over or encodings > 1 or value.lower() != b"chunked" or line.version != "1.1":
                return RequestMalformed("the only transfer coding is `chunked`, once, in HTTP/1.1")
    if hosts > 1 or (not hosts and line.version == "1.1"):
        return RequestMalformed("a request names its host once")
    return None
