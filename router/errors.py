"""What the router itself refuses, and how that looks on the wire. Everything else is the cell's answer, passed on."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from infra.runtime.problem import CHALLENGE, MEDIA_TYPE, problem_body

RETRY_AFTER_S: Final = 1
"""Of a 503 or 429 that nothing more is known of: as long as a move, a queue or an open breaker lasts."""

STATUS_LINES: Final[dict[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What the router passes on; which of them a resource has, its own answer to OPTIONS says."""
_SERVED: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
"""What some resource has, for `Allow` where the router does not know which resource is meant."""


class RouterRefusal(Exception):
    """A refusal with a stable code. Subclasses say which; the detail says why."""

    status: int = 500
    code: str = "INTERNAL"
    retry_after_s: int | None = None
    limit_headers: bytes = b""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class TokenInvalid(RouterRefusal):
    status, code = 401, "TOKEN_INVALID"


class TokenExpired(RouterRefusal):
    status, code = 401, "TOKEN_EXPIRED"


class RequestMalformed(RouterRefusal):
    status, code = 400, "INVALID_FIELD"


class MethodNotAllowed(RouterRefusal):
    status, code = 405, "METHOD_NOT_ALLOWED"


class VersionNotSupported(RouterRefusal):
    status, code = 505, "HTTP_VERSION_NOT_SUPPORTED"


class TooManyRequests(RouterRefusal):
    """Nothing was done."""

    status, code, retry_after_s = 429, "RATE_LIMITED", RETRY_AFTER_S


class BodyTooLarge(RouterRefusal):
    status, code = 413, "BODY_TOO_LARGE"


class TargetTooLong(RouterRefusal):
    status, code = 414, "TARGET_TOO_LONG"


class HeadTooLarge(RouterRefusal):
    status, code = 431, "HEADERS_TOO_LARGE"


class CellUnavailable(RouterRefusal):
    """Nothing was done."""

    status, code, retry_after_s = 503, "CELL_UNAVAILABLE", RETRY_AFTER_S


class CellOverloaded(RouterRefusal):
    """Nothing was done."""

    status, code, retry_after_s = 503, "OVERLOADED", RETRY_AFTER_S


class UserHalted(RouterRefusal):
    """A write waited for the user's move to end, in vain. Nothing was done."""

    status, code, retry_after_s = 503, "USER_HALTED", RETRY_AFTER_S


class OutcomeUnknown(RouterRefusal):
    """Sent, and perhaps done: the client asks again with the same key. Never a guess, never a 504."""

    status, code, retry_after_s = 503, "OUTCOME_UNKNOWN", RETRY_AFTER_S


class ControlUnavailable(RouterRefusal):
    """Sign-up and login by email need the control database; known users with a token do not."""

    status, code, retry_after_s = 503, "CONTROL_UNAVAILABLE", RETRY_AFTER_S


def render_refusal(refusal: RouterRefusal, request_id: bytes, *, close: bool) -> bytes:
    """The whole HTTP/1.1 answer."""
    body = problem_body(refusal.status, refusal.code, refusal.detail, request_id.decode("latin-1"), {})
    parts = [
        STATUS_LINES[refusal.status],
        b"content-type: ",
        MEDIA_TYPE.encode(),
        b"\r\ncontent-length: ",
        str(len(body)).encode(),
        b"\r\nx-request-id: ",
        request_id,
    ]
    if refusal.retry_after_s is not None:
        parts += [b"\r\nretry-after: ", str(refusal.retry_after_s).encode()]
    if refusal.status == 401:
        parts.append(b"\r\nwww-authenticate: " + CHALLENGE.encode())
    if refusal.status == 405:
        parts += [b"\r\nallow: ", ", ".join(_SERVED).encode()]
    if refusal.limit_headers:
        parts += [b"\r\n", refusal.limit_headers[:-2]]
    parts.append(b"\r\nconnection: close\r\n\r\n" if close else b"\r\n\r\n")
    parts.append(body)
    return b"".join(parts)


def refusal_headers(refusal: RouterRefusal) -> Mapping[str, str]:
    return {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
