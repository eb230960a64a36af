"""Requests that can be read in one way only, on every route of every Litestar application.

A header that has one value is given once. A body is not coded: 415 says so (RFC 9110 15.5.16). Query parameters are
those that the route declares, each given once: what a client misspells, or says twice, is refused by name instead of
being left out. An id in a path has one spelling. A new route obeys without naming the rule.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.routes import HTTPRoute

from infra.runtime.problem import Problem

_SINGLE: Final = {
    name.lower().encode(): name
    for name in ("Authorization", "Content-Type", "Host", "If-Match", "X-Idempotency-Key", "X-Route-Token")
}
_CODED: Final = b"content-encoding"
_NAME_CHARS_MAX: Final = 64
"""Of a name that is repeated to whoever sent it."""


def check_headers(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Names in lower case. Raises Problem: 400 for a header given twice, 415 for a coded body."""
    if len(of_name := dict(headers)) == len(headers) and _CODED not in of_name:
        return  # nearly always
    seen: set[bytes] = set()
    for name, value in headers:
        if name in _SINGLE:
            if name in seen:
                raise Problem(400, "INVALID_FIELD", f"{_SINGLE[name]}: given twice", field=_SINGLE[name])
            seen.add(name)
        elif name == _CODED and {coding.strip().lower() for coding in value.split(b",")} - {b"identity", b""}:
            raise Problem(
                415,
                "UNSUPPORTED_MEDIA_TYPE",
                "send the body as it is, without a Content-Encoding",
                headers={"Accept-Encoding": "identity"},
                field="Content-Encoding",
            )


def check_query(names: Iterable[str], declared: Collection[str]) -> None:
    """Of the parameters of a query, in their order. Raises Problem 400."""
    seen: set[str] = set()
    for name in names:
        shown = name[:_NAME_CHARS_MAX]
        if name not in declared:
            raise Problem(400, "INVALID_FIELD", f"{shown}: no parameter of this call", field=shown)
        if name in seen:
            raise Problem(400, "INVALID_FIELD", f"{shown}: given twice", field=shown)
        seen.add(name)


class PlainRequests:
    """Litestar's middleware around one handler: inside of it a refusal becomes a problem document like any other."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app
        self._declared: Collection[str] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Raises Problem."""
        check_headers(scope["headers"])
        if scope["query_string"] and scope["method"] != "OPTIONS":  # that one is asked of a target with its query
            if self._declared is None:
                self._declared = _declared_parameters(scope["litestar_app"], scope["route_handler"])
            query: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
            check_query((name for name, _ in query.query_params.multi_items()), self._declared)
        for value in scope["path_params"].values():
            if value.__class__ is UUID and str(value) not in scope["path"].lower().split("/"):
                raise Problem(404, "NOT_FOUND", "an id in a path is spelled as RFC 9562 has it")
        await self._app(scope, receive, send)


def _declared_parameters(app: Litestar, handler: object) -> set[str]:
    """The query parameters that a handler takes, by its signature and that of what it depends on."""
    declared: set[str] = set()
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for one, takes in route.route_handler_map.values():
                if one is handler:
                    declared |= {parameter.field_alias for parameter in takes.expected_query_params}
    return declared
