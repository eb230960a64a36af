"""May a request be read on from its head? Sizes, version, method, and whatever two readers could read differently.
Pure; the parser has refused most of it before."""

from typing import Final

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
from router.request import Request
from router.settings import EdgeSettings

_METHODS: Final = frozenset(method.encode() for method in METHODS)
_VERSIONS: Final = frozenset({"1.1", "1.0"})
_LENGTH_DIGITS_MAX: Final = 15
"""Of Content-Length, before it is read as a number: reading thousands of digits takes time, and all are too large."""


def judge_head(request: Request, version: str, settings: EdgeSettings) -> RouterRefusal | None:
    """Why the connection must end here; None if the request may be read on.

    In this order: size of the target, size of the head, version, method, form of the target, Host, size of the body,
    transfer coding. So what could be read in two ways is refused before anything is done with it, and sizes first.
    """
    if len(request.target) > settings.target_bytes_max:
        return TargetTooLong(f"a request target may have at most {settings.target_bytes_max} bytes")
    if request.head_bytes > settings.head_bytes_max or request.header_count > settings.header_count_max:
        return HeadTooLarge(f"at most {settings.header_count_max} headers of together {settings.head_bytes_max} bytes")
    if version not in _VERSIONS:
        return VersionNotSupported("HTTP/1.1 is spoken here")
    if request.method not in _METHODS:
        return MethodNotAllowed("this method is not served")
    if not request.target.startswith(b"/"):
        return RequestMalformed("the request target is neither a path nor an address")
    if request.hosts != 1 and (request.hosts or version == "1.1"):
        return RequestMalformed("a request names its host once")
    length = request.content_length
    if length and (len(length) > _LENGTH_DIGITS_MAX or int(length) > settings.body_bytes_max):
        return BodyTooLarge(f"a body may have at most {settings.body_bytes_max} bytes")
    if request.codings and (request.codings > 1 or request.coding != b"chunked" or version != "1.1"):
        return RequestMalformed("the only transfer coding is `chunked`, once, in HTTP/1.1")
    return None


def is_websocket(request: Request, version: str) -> bool:
    """The only upgrade that is ever taken. What else is asked for, or is asked for with a body, is ignored (RFC 9110
    7.8): the request is served in HTTP/1.1."""
    if request.method != b"GET" or version != "1.1" or request.codings or request.content_length.strip(b"0"):
        return False
    return b"websocket" in {token.strip() for token in request.upgrade.split(b",")}
