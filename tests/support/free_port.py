"""A port for a server that a test starts itself.

Below those from which the system draws outgoing connections: a server that is killed and started again must find its
port free, and a client who asks for it meanwhile must not be lent that very port, and so connect to itself.
"""

import random
import socket

_PORTS = range(10_000, 20_000)  # stacks have theirs above
_TRIES = 200


def free_port() -> int:
    """Free a moment ago: whoever takes it should do so soon."""
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port among {_TRIES}")
