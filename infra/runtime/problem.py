"""Errors as problem documents (RFC 9457), the same from every process.

An expected refusal is a `Problem`: status, a stable `code` that clients may rely on, one sentence of detail, and the
figures that explain it. Whatever else escapes a controller becomes a 500 whose detail says nothing about the inside;
the log has the trace, found by the request id.
"""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

MEDIA_TYPE = "application/problem+json"
CHALLENGE = "Bearer"
"""Of every 401 (RFC 9110 15.5.2)."""
_log = logging.getLogger(__name__)


class Problem(Exception):
    """A refusal that is shown to the caller as it is."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **figures: object,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        if status == 401:
            self.headers.setdefault("WWW-Authenticate", CHALLENGE)
        self.figures: dict[str, object] = dict(figures)


def problem_body(status: int, code: str, detail: str, request_id: str | None, figures: Mapping[str, object]) -> bytes:
    """The document's bytes; `figures` become further members."""
    return msgspec.json.encode(
        {
            "type": f"urn:problem:{code.lower().replace('_', '-')}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request_id,
            **figures,
        }
    )


_CODE_OF_STATUS = {
    400: "INVALID_FIELD",
    401: "TOKEN_INVALID",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
}


_MISSING = re.compile(r"Missing required \w+ parameter '([^']+)'")
"""How Litestar says so; it names the parameter nowhere else."""


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's exception handler for everything."""
    request_id = request.headers.get("x-request-id")
    if isinstance(error, ValidationException):
        error = _of_parameter(error)
    if isinstance(error, Problem):
        body = problem_body(error.status, error.code, error.detail, request_id, error.figures)
        return Response(body, status_code=error.status, headers=error.headers, media_type=MEDIA_TYPE)
    if isinstance(error, HTTPException):
        status = error.status_code
        if status >= 500:
            _log.error("unhandled error", extra={"request_id": request_id, "path": request.url.path}, exc_info=error)
        code = _CODE_OF_STATUS.get(status, "INTERNAL" if status >= 500 else "INVALID_FIELD")
        body = problem_body(status, code, error.detail or HTTPStatus(status).phrase, request_id, {})
        return Response(body, status_code=status, headers=error.headers or {}, media_type=MEDIA_TYPE)
    _log.error("unhandled error", extra={"request_id": request_id, "path": request.url.path}, exc_info=error)
    detail = "something went wrong here; the request id finds it in the log"
    body = problem_body(500, "INTERNAL", detail, request_id, {})
    return Response(body, status_code=500, media_type=MEDIA_TYPE)


def _of_parameter(error: ValidationException) -> Exception:
    """A parameter that is missing (400) or cannot be meant (422), refused by its name as a body's fields are."""
    missing = _MISSING.match(error.detail)
    if missing is not None:
        return Problem(400, "INVALID_FIELD", f"{missing[1]}: missing", field=missing[1])
    if isinstance(error.extra, list) and error.extra and "key" in error.extra[0]:
        field = error.extra[0]["key"]
        return Problem(422, "INVALID_FIELD", f"{field}: {error.extra[0]['message']}", field=field)
    return error
