"""Who connected is what the operating system says."""

import os
import pwd
import socket
from typing import Any

import pytest
from litestar import Request
from litestar.testing import RequestFactory

from infra.security.roles import Role
from shardctl.errors import NotAllowed
from shardctl.persons import Person, Way
from shardctl.service.identity import Peer, peer_of, person_on_socket


def test_the_peer_of_a_socket_is_this_process() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert peer.uid == os.geteuid()
    assert peer.name == pwd.getpwuid(os.geteuid()).pw_name


def test_a_user_without_a_name_has_a_number() -> None:
    assert Peer(1, 2_000_000_000).name == "uid 2000000000"


def connected_as(uid: int) -> Request[Any, Any, Any]:
    request = RequestFactory().get("/")
    request.scope["state"]["peer"] = Peer(1, uid)
    return request


@pytest.mark.anyio
async def test_on_the_socket_the_machines_owner_and_root_may_do_everything_and_others_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2_000_000_000)
    assert await person_on_socket(connected_as(2_000_000_000)) == Person("uid 2000000000", Role.ADMIN, Way.SOCKET)
    assert await person_on_socket(connected_as(0)) == Person("root", Role.ADMIN, Way.SOCKET)
    with pytest.raises(NotAllowed, match="uid 2000000001 is neither"):
        await person_on_socket(connected_as(2_000_000_001))
