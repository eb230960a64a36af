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
from router.headers import RequestHead
from router.settings import EdgeSettings

_METHODS: Final = frozenset(method.encode() for method in METHODS)
_VERSIONS: Final = frozenset({"1.1", "1.0"})
_LENGTH_DIGITS_MAX: Final = 15


def judge_head(
    method: bytes, target: bytes, version: str, head: RequestHead, settings: EdgeSettings, *, takes_over: bool
) -> RouterRefusal | None:
    """Why the connection must end here. `takes_over`: an upgrade is asked for, so what follows the head is no HTTP."""
    if len(target) > settings.target_bytes_max:
        return TargetTooLong(f"a request target may have at most {settings.target_bytes_max} bytes")
    if head.bytes > settings.head_bytes_max or head.count > settings.header_count_max:
        return HeadTooLarge(f"at most {settings.header_count_max} headers of together {settings.head_bytes_max} bytes")
    if version not in _VERSIONS:
        return VersionNotSupported("HTTP/1.1 is spoken here")
    if method not in _METHODS:
        return MethodNotAllowed("this method is not served")
    if not target.startswith(b"/"):
        return RequestMalformed("the request target is not a path")
    if head.hosts != 1 and (head.hosts or version == "1.1"):
        return RequestMalformed("a request names its host once")
    length = head.content_length
    if length and (len(length) > _LENGTH_DIGITS_MAX or int(length) > settings.body_bytes_max):
        return BodyTooLarge(f"a body may have at most {settings.body_bytes_max} bytes")
    if head.codings and (head.codings > 1 or head.coding != b"chunked" or version != "1.1"):
        return RequestMalformed("the only transfer coding is `chunked`, once, in HTTP/1.1")
    if takes_over and (head.codings or (length and int(length))):
        return RequestMalformed("who asks for an upgrade sends no body")
    return None
