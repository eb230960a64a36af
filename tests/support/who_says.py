"""Persons for tests of what the service makes of a person: the request says which role, and nothing proves it."""

from typing import Any

from litestar.connection import ASGIConnection

from infra.runtime.problem import Problem
from infra.security.roles import Role
from shardctl.persons import Person, Way


async def who_says(connection: ASGIConnection[Any, Any, Any, Any]) -> Person:
    role = connection.headers.get("x-role")
    if role is None:
        raise Problem(401, "TOKEN_INVALID", "who asks?", exit_code=3)
    return Person(connection.headers.get("x-name", f"some {role}"), Role(role), Way.OIDC)
