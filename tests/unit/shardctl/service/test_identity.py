"""Who connected is what the operating system says."""

import os
import pwd
import socket

from shardctl.service.identity import Peer, peer_of


def test_the_peer_of_a_socket_is_this_process() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert peer.uid == os.geteuid()
    assert peer.name == pwd.getpwuid(os.geteuid()).pw_name


def test_a_user_without_a_name_has_a_number() -> None:
    assert Peer(1, 2_000_000_000).name == "uid 2000000000"
