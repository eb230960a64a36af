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
    method: bytes, target: bytes, version: str, head: RequestHead, settings: EdgeSettings
) -> RouterRefusal | None:
    """Why the connection must end here."""
    if len(target) > settings.target_bytes_max:
        return TargetTooLong(f"a request target may have at most {settings.target_bytes_max} bytes")
    if head.bytes > settings.head_bytes_max or head.count > settings.header_count_max:
        return HeadTooLarge(f"at most {settings.header_count_max} headers of together {settings.head_bytes_max} bytes")
    if version not in _VERSIONS:
        return VersionNotSupported("HTTP/1.1 is spoken here")
    if method not in _METHODS:
        return MethodNotAllowed("this method is not served")
    if not target.startswith(b"/"):
        return RequestMalformed("the request target is neither a path nor an address")
    if head.hosts != 1 and (head.hosts or version == "1.1"):
        return RequestMalformed("a request names its host once")
    length = head.content_length
    if length and (len(length) > _LENGTH_DIGITS_MAX or int(length) > settings.body_bytes_max):
        return BodyTooLarge(f"a body may have at most {settings.body_bytes_max} bytes")
    if head.codings and (head.codings > 1 or head.coding != b"chunked" or version != "1.1"):
        return RequestMalformed("the only transfer coding is `chunked`, once, in HTTP/1.1")
    return None


def is_websocket(method: bytes, version: str, head: RequestHead) -> bool:
    """The only upgrade that is ever taken. What else is asked for, or is asked for with a body, is ignored (RFC 9110
    7.8): the request is served in HTTP/1.1."""
    if method != b"GET" or version != "1.1" or head.codings or head.content_length.strip(b"0"):
        return False
    return b"websocket" in {token.strip() for token in head.upgrade.split(b",")}
