"""Ports of a stack: allocated once, remembered, and never those of another stack.

A registry per user, under a lock, says which stack holds which port, whether that stack runs or not; each new port is
also probed, because others use ports too. Ports lie below the range from which the system draws outgoing connections.
Two users who start at the same moment are kept apart by probing and by starting their search at different ports, not
by the registry.
"""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from infra.backends.backend import BackendError
from infra.backends.local.folders import cache_root
from infra.backends.replaced_file import replace_file

PORT_MIN = 20_000
"""Above the well-known servers' ports,"""
PORT_MAX = 32_000
"""and below the range from which Linux takes ports for outgoing connections (32,768)."""
_HOST = "127.0.0.1"

Probe = Callable[[int], bool]


def port_registry_path() -> Path:
    """Of all stacks of this user."""
    return cache_root() / "ports.json"


def is_free(port: int) -> bool:
    """Nobody listens there. A connection of an earlier server that is still closing does not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def choose_ports(
    *, wanted: Sequence[str], held: Mapping[str, int], taken: frozenset[int], start: int, free: Probe
) -> dict[str, int]:
    """A port for each wanted name: the held one where there is one, otherwise the next that nobody has. Raises
    BackendError."""
    chosen = {name: held[name] for name in wanted if name in held}
    used = taken | frozenset(chosen.values())
    candidates = _circle(start)
    for name in wanted:
        if name not in chosen:
            chosen[name] = next((port for port in candidates if port not in used and free(port)), 0)
            if not chosen[name]:
                raise BackendError(f"no free port between {PORT_MIN} and {PORT_MAX} for {name}")
    return chosen


def _circle(start: int) -> Iterator[int]:
    span = PORT_MAX - PORT_MIN
    return (PORT_MIN + (start + offset) % span for offset in range(span))


class PortClaims:
    """The registry while its lock is held."""

    def __init__(self, claims: dict[str, dict[str, int]]) -> None:
        self._claims = claims

    def claim(
        self, holder: Path, wanted: Sequence[str], held: Mapping[str, int], free: Probe = is_free
    ) -> dict[str, int]:
        """Ports for the stack at `holder`; those in `held` are kept unless another stack has claimed them meanwhile.
        Raises BackendError."""
        taken = frozenset(
            port for other, ports in self._claims.items() if other != str(holder) for port in ports.values()
        )
        kept = {name: port for name, port in held.items() if port not in taken}
        start = int.from_bytes(hashlib.blake2b(os.fsencode(holder), digest_size=4).digest(), "big")
        chosen = choose_ports(wanted=wanted, held=kept, taken=taken, start=start, free=free)
        self._claims[str(holder)] = chosen
        return chosen

    def release(self, holder: Path) -> None:
        self._claims.pop(str(holder), None)


@contextmanager
def port_registry(path: Path) -> Iterator[PortClaims]:
    """Open, lock, prune stacks that no longer exist, and write back what changed.

    The stack's own record must be saved before the block ends: a claim without a record is pruned by the next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        claims = _of_stacks_that_exist(path)
        yield PortClaims(claims)
        replace_file(path, msgspec.json.encode(claims), mode=0o600)


def claimed_ports(path: Path) -> frozenset[int]:
    """Of all stacks of this user that exist. Reads only: the file is replaced whole, so no lock is needed for it."""
    return frozenset(port for ports in _of_stacks_that_exist(path).values() for port in ports.values())


def _of_stacks_that_exist(path: Path) -> dict[str, dict[str, int]]:
    return {holder: ports for holder, ports in _read(path).items() if (Path(holder) / "stack.json").exists()}


def _read(path: Path) -> dict[str, dict[str, int]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, int]])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
