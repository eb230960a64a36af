"""Is a request target one that may cross to a cell? Only `/v1/...`, spelled plainly: what looks like a way out of
`/v1` is refused, since the cell's own private paths lie beside it."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

PREFIX: Final = b"/v1/"
_USUAL: Final = re.compile(rb"(?:/[A-Za-z0-9_-]+)+(?:\?[^#]*)?")  # nothing in it that could mean anything else
_OWN: Final = frozenset({b"/v1/users", b"/v1/tokens"})


def is_forwarded(target: bytes) -> bool:
    """Everything under `/v1` but the calls that the router answers itself."""
    if not target.startswith(PREFIX):
        return False
    if target.startswith((b"/v1/u", b"/v1/t")):
        return target.partition(b"?")[0].rstrip(b"/") not in _OWN
    return True


def is_plain(target: bytes) -> bool:
    """No dot segments, empty segments, backslashes or fragments, encoded or not; encoded slashes neither.

    Nearly every target is seen to be plain by one pattern. Else the path is decoded once: a slash that appears, or
    something that could be decoded again, is refused, because a server behind may decode as often as it likes.
    """
    if _USUAL.fullmatch(target):
        return True
    path = target.partition(b"?")[0]
    if b"%" in path:
        decoded = unquote_to_bytes(path)
        if decoded.count(b"/") != path.count(b"/") or (b"%" in decoded and unquote_to_bytes(decoded) != decoded):
            return False
        path = decoded
    if b"//" in path or b"\\" in path or b"#" in target or not path.isascii():
        return False
    return b"/." not in path or not any(segment in (b".", b"..") for segment in path.split(b"/"))
