"""A port for a server that a test starts itself."""

import socket


def free_port() -> int:
    """Free a moment ago: whoever takes it should do so soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
