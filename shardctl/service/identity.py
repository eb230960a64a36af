"""Who asks: the operating system says it, by the socket's peer credentials. Nothing that the client sends counts.

On one machine its owner (and root) can do anything; the mode of the socket keeps everybody else away.
"""

import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Any

from litestar.connection import ASGIConnection

from infra.runtime.http_port import HttpPort

_PEER = "peer"
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end when it connected."""

    pid: int
    uid: int

    @property
    def name(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"


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


def actor_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The name that is recorded."""
    peer = connection.scope["state"][_PEER]
    assert isinstance(peer, Peer), "this port tells who connects"
    return peer.name
