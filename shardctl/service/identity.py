"""Who asks, and may they: each port of the service says who connects, one table says what each endpoint wants.

On the socket the operating system tells it, by the socket's peer credentials; nothing that the client sends counts. On
one machine its owner (and root) can do anything; the mode of the socket keeps everybody else away.
"""

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from infra.runtime.http_port import HttpPort
from infra.runtime.least_roles import endpoint_of
from infra.runtime.problem import Problem
from infra.runtime.telemetry import Metrics
from infra.security.roles import Role
from shardctl.errors import NotAllowed
from shardctl.persons import Person, Way, name_of_user
from shardctl.service.roles import LEAST_ROLES

Identify = Callable[[ASGIConnection[Any, Any, Any, Any]], Awaitable[Person]]
"""Who asks at a port. Raises Problem 401 for nobody who is known, NotAllowed."""

_PEER = "peer"
_PERSON = "person"
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end when it connected."""

    pid: int
    uid: int

    @property
    def name(self) -> str:
        return name_of_user(self.uid)


class PeerPort(HttpPort):
    """HTTP over a Unix socket; every request carries who connected."""

    _peer: Peer | None = None

    def connection_made(self, transport: Any) -> None:
        self._peer = peer_of(transport.get_extra_info("socket"))
        super().connection_made(transport)

    def on_headers_complete(self) -> None:
        self.scope["state"][_PEER] = self._peer
        super().on_headers_complete()


def peer_of(connection: socket.socket) -> Peer:
    """Linux's SO_PEERCRED, and LOCAL_PEERCRED (a version, the user, groups) of macOS, which tells no pid."""
    if hasattr(socket, "SO_PEERCRED"):
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return Peer(pid, uid)
    # macOS: SOL_LOCAL, LOCAL_PEERCRED, and the size of struct xucred, which has the user as its second word
    raw = connection.getsockopt(0, 1, 76)
    return Peer(0, struct.unpack_from("2i", raw)[1])


async def person_on_socket(connection: ASGIConnection[Any, Any, Any, Any]) -> Person:
    """The machine's owner, as whom this process runs, or root. Raises NotAllowed."""
    peer = connection.scope["state"][_PEER]
    assert isinstance(peer, Peer), "this port tells who connects"
    if peer.uid not in (0, os.geteuid()):
        raise NotAllowed(f"{peer.name} is neither the owner of this stack nor root")
    return Person(peer.name, Role.ADMIN, Way.SOCKET)


class IdentifiedRequests:
    """Litestar's outermost middleware: nothing is done, and nothing recorded, before it is known who asks. Strangers,
    and persons without any role here, are counted: they cannot make the record grow."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], identify: Identify, metrics: Metrics) -> None:
        self._app = app
        self._identify = identify
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        connection = ASGIConnection[Any, Any, Any, Any](scope, receive)
        if endpoint_of(connection) is not None:
            try:
                scope["state"][_PERSON] = await self._identify(connection)
            except (Problem, NotAllowed):
                self._metrics.counter("shardctl_unauthenticated_total").inc()
                raise
        await self._app(scope, receive, send)


def let_in(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """A Litestar guard of a whole application: the person has the endpoint's role. Raises NotAllowed."""
    endpoint = endpoint_of(connection)
    if endpoint is not None:
        person_of(connection).need(LEAST_ROLES[endpoint])


def person_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Person:
    """Who asks."""
    person = connection.scope["state"][_PERSON]
    assert isinstance(person, Person)
    return person
