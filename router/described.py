"""What the OpenAPI document says that no handler declares: the bodies of the router's own calls, and the answers that
the router may give to any call instead of a cell.

Plain JSON, as the document is. A body is never described narrower than it is checked.
"""

from collections.abc import Iterator
from typing import Any, Final

from infra.security.password_form import PASSWORD_CHARS_MIN

_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_TEXT: Final = {"type": "string", "maxLength": 1024}
"""The most that the handlers check an unnamed text for."""
_EMAIL: Final = {**_TEXT, "pattern": "^[^@]+@[^@]+$"}
_NAME: Final = {"oneOf": [{**_TEXT, "maxLength": 200}, {"type": "null"}]}
"""As the cell keeps it, in characters."""
_OR_NULL: Final = {"oneOf": [_TEXT, {"type": "null"}]}

_SIGN_UP: Final = {
    "type": "object",
    "properties": {"email": _EMAIL, "password": {**_TEXT, "minLength": PASSWORD_CHARS_MIN}, "name": _NAME},
    "required": ["email", "password"],
    "additionalProperties": False,
}
_BY_PASSWORD: Final = {
    "type": "object",
    "title": "by email and password",
    "properties": {
        "grant_type": {"type": "string", "enum": ["password"]},
        "email": _TEXT,
        "password": _TEXT,
        "refresh_token": {**_OR_NULL, "description": "any that was given out for the account: this device is known"},
    },
    "required": ["grant_type", "email", "password"],
    "additionalProperties": False,
}
_BY_REFRESH_TOKEN: Final = {
    "type": "object",
    "title": "by refresh token",
    "properties": {
        "grant_type": {"type": "string", "enum": ["refresh_token"]},
        "refresh_token": _TEXT,
        "email": _OR_NULL,
        "password": _OR_NULL,
    },
    "required": ["grant_type", "refresh_token"],
    "additionalProperties": False,
}
_BODIES: Final = {"/v1/users": _SIGN_UP, "/v1/tokens": {"oneOf": [_BY_PASSWORD, _BY_REFRESH_TOKEN]}}

_IDEMPOTENCY_KEY: Final = {
    "name": "X-Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "a new one per write; a repeat with the same one is answered the same",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}

_ANYWHERE: Final = {
    "400": "not a well-formed request",
    "401": "no or bad token",
    "413": "the body is too large",
    "414": "the target is too long",
    "415": "the body has a Content-Encoding",
    "429": "too many requests; nothing was done",
    "431": "the headers are too large",
    "503": "not done, or `OUTCOME_UNKNOWN`: ask again, with the same key",
}
_REQUEST_ID: Final = {"required": True, "description": "the client's own, if it sent one", "schema": {"type": "string"}}
_CELL: Final = {"description": "the cell that answered; absent if none did", "schema": {"type": "string"}}
_CHALLENGE: Final = {"required": True, "description": "the scheme of access tokens", "schema": {"type": "string"}}
_RETRY_AFTER: Final = {"required": True, "description": "seconds", "schema": {"type": "integer", "minimum": 0}}


def describe_own(path: str, item: dict[str, Any]) -> None:
    """Put the checked shape of body and header into one of the router's own calls."""
    operation = item.get("post", {})
    if path in _BODIES:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _BODIES[path]}}}
    if "parameters" in operation:
        operation["parameters"] = [_IDEMPOTENCY_KEY]


def describe_answers(item: dict[str, Any]) -> None:
    """Add the answers that any call may get, and the headers that every answer has."""
    for operation in _operations(item):
        responses = operation.setdefault("responses", {})
        for status, said in _ANYWHERE.items():
            responses.setdefault(status, {"description": said, "content": _PROBLEM})
        for status, response in responses.items():
            headers = response.setdefault("headers", {})
            headers |= {"X-Request-Id": _REQUEST_ID, "X-Cell": _CELL}
            if status == "401":
                headers["WWW-Authenticate"] = _CHALLENGE
            if status in ("429", "503"):
                headers["Retry-After"] = _RETRY_AFTER


def _operations(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (operation for operation in item.values() if isinstance(operation, dict))
