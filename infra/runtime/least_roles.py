"""Which role an endpoint wants: every application names it for each of its endpoints, in one table.

An endpoint that no table names does not exist: an application with one does not start, and neither does one whose table
names an endpoint that there is not. So a new endpoint cannot be left open by forgetting it.
"""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.routes import HTTPRoute

from infra.security.roles import Role

LeastRoles = Mapping[str, Role]
"""By method and path, parameters in braces: `POST /operator/v1/users/{user_id}/unrestrict`."""
OPEN: Final = frozenset({"GET /health/live", "GET /health/ready", "GET /metrics"})
"""Machines ask these: no token, and nothing of a customer in the answer."""
_METHODS_OF_A_PATH: Final = "OPTIONS"
"""Litestar answers it by itself, for every path: with the path's methods, for anybody, and nothing is done."""


class EndpointsUnnamed(Exception):
    """The endpoints of an application and its table of roles differ."""


def endpoints_of(app: Litestar) -> frozenset[str]:
    """Every endpoint of an application, as its table names it."""
    return frozenset(
        f"{method} {route.path_format}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != _METHODS_OF_A_PATH
    )


def check_named(app: Litestar, roles: LeastRoles, *, open_ones: frozenset[str] = frozenset()) -> None:
    """Raises EndpointsUnnamed."""
    endpoints, named = endpoints_of(app), roles.keys() | open_ones
    if endpoints != named:
        without, gone = sorted(endpoints - named), sorted(named - endpoints)
        raise EndpointsUnnamed(f"without a role: {without}; there is no such endpoint: {gone}")


def endpoint_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """Which endpoint a request is for; None: it asks for the methods of a path."""
    if connection.scope["method"] == _METHODS_OF_A_PATH:  # type: ignore[typeddict-item]
        return None
    return f"{connection.scope['method']} {connection.scope['path_template']}"  # type: ignore[typeddict-item]
