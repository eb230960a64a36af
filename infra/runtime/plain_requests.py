"""Requests that can be read in one way only, on every route of every Litestar application: a guard.

A header that has one value is given once. A body is not coded: 415 says so (RFC 9110 15.5.16). Query parameters are
those that the route declares, each given once: what a client misspells, or says twice, is refused by name instead of
being left out. A new route obeys without being told.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.routes import HTTPRoute

from infra.runtime.problem import Problem

_SINGLE: Final = {
    name.lower().encode(): name
    for name in ("Authorization", "Content-Type", "Host", "If-Match", "X-Idempotency-Key", "X-Route-Token")
}
_CODED: Final = b"content-encoding"
_NAME_CHARS_MAX: Final = 64
"""Of a name that is repeated to whoever sent it."""


def check_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Names in lower case. Raises Problem: 400 for a header given twice, 415 for a coded body."""
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
    """The guard of one application."""

    def __init__(self) -> None:
        self._declared: dict[BaseRouteHandler, set[str]] = {}

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        scope: Any = connection.scope
        check_headers(scope["headers"])
        if scope["query_string"] and scope["method"] != "OPTIONS":  # asked of a whole target, its query included
            if not self._declared:
                self._declared = declared_parameters(connection.app)
            names = (name for name, _ in connection.query_params.multi_items())
            check_query(names, self._declared[handler])


def declared_parameters(app: Litestar) -> dict[BaseRouteHandler, set[str]]:
    """The query parameters that each handler takes, by its signature."""
    declared: dict[BaseRouteHandler, set[str]] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler, takes in route.route_handler_map.values():
                declared.setdefault(handler, set()).update(one.field_alias for one in takes.expected_query_params)
    return declared
