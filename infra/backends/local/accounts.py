"""Which operating system user runs PostgreSQL, and what that user can reach.

PostgreSQL refuses to run as root. When we are root its servers run as an unprivileged user, who may not be able to
enter the folder that the checkout lies in; so as root the binaries are copied to the cache and data lives in the
state folder.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from infra.backends.backend import BackendError

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class ServerUser:
    """An unprivileged account, as `subprocess` and supervisord want it."""

    name: str
    uid: int
    gid: int


def server_user() -> ServerUser | None:
    """The user for servers that refuse root, or None if we are an ordinary user ourselves. Raises BackendError."""
    if os.geteuid() != 0:
        return None
    wanted = os.environ.get("POSTGRES_OS_USER")
    for name in (wanted,) if wanted else _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return ServerUser(name, entry.pw_uid, entry.pw_gid)
    raise BackendError("PostgreSQL does not run as root and no unprivileged user was found: set POSTGRES_OS_USER")


def first_closed_folder(path: Path, user: ServerUser) -> Path | None:
    """The first folder on the way to `path` (itself included) that `user` cannot pass through."""
    for folder in (*reversed(path.parents), path):
        try:
            status = folder.stat()
        except FileNotFoundError:
            return None
        if not _may_pass(status, user):
            return folder
    return None


def _may_pass(status: os.stat_result, user: ServerUser) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def give(path: Path, user: ServerUser | None) -> None:
    if user is not None:
        os.chown(path, user.uid, user.gid)
