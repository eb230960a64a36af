"""Checkouts of releases with environments of their own, kept from run to run in `.tools/releases` and pruned there.

`COMMIT/` holds a release's files (`git archive`: no history, no worktree to forget). Its environment is this one's
where both have the same lock, else `environment-HASH/`, made from its lock and kept under the lock's hash. What no
listed release needs is removed when a cache is opened; who uses one holds a lock, and then nothing is removed. Only
folders that are named as this file names them are touched.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path

from infra.backends.checkout import project_root

GIT_S_MAX = 120
INSTALL_S_MAX = 600
"""From the packages' cache it takes seconds; on a new machine they are fetched."""
LOCK = "requirements-dev.lock"
_CHECKOUT = re.compile(r"[0-9a-f]{40}(-stands-in)?")
_ENVIRONMENT = re.compile(r"environment-[0-9a-f]{16}")


class CommitMissing(Exception):
    """This clone lacks the commit, and its origin did not give it."""


@dataclass(frozen=True)
class ReleaseCache:
    """Of one clone."""

    clone: Path
    folder: Path

    @contextmanager
    def opened(self, wanted: Iterable[str]) -> Iterator["ReleaseCache"]:
        """Remove what none of these checkouts needs, unless another process uses the cache; and keep others from it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                self._prune(wanted)
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield self

    def _prune(self, wanted: Iterable[str]) -> None:
        kept = set(wanted)
        kept |= {environment_name(self.folder / name / LOCK) for name in kept if (self.folder / name / LOCK).exists()}
        ours = [
            path
            for path in sorted(self.folder.iterdir())
            if path.is_dir()
            and not path.is_symlink()
            and (_CHECKOUT.fullmatch(path.name) or _ENVIRONMENT.fullmatch(path.name))
        ]
        for path in ours:
            if path.name not in kept:
                shutil.rmtree(path)

    def checkout(self, commit: str, name: str | None = None, edit: Callable[[Path], None] | None = None) -> Path:
        """The commit's files; made beside and renamed, so what is there is whole. Raises CommitMissing."""
        root = self.folder / (name or commit)
        if root.exists():
            return root
        if not self._has(commit):
            self._fetch(commit)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            archive, beside = Path(temporary) / "files.tar", Path(temporary) / "checkout"
            git(self.clone, "archive", "--format=tar", f"--output={archive}", commit)
            with tarfile.open(archive) as files:
                files.extractall(beside, filter="data")
            if edit is not None:
                edit(beside)
            beside.rename(root)
        return root

    def python(self, root: Path) -> Path:
        """The interpreter of a checkout's environment, with all that its lock names."""
        lock = root / LOCK
        if lock.read_bytes() == (project_root() / LOCK).read_bytes():
            return Path(sys.executable)
        folder = self.folder / environment_name(lock)
        python = folder / "bin" / "python"
        if not (folder / ".installed").exists():
            uv = (sys.executable, "-m", "uv")
            environment = {**environ, "PYTHONPATH": str(project_root() / ".tools"), "UV_PYTHON_DOWNLOADS": "never"}
            for command in (
                (*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)),
                (*uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(python), "-r", str(lock)),
            ):
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_S_MAX)
                assert done.returncode == 0, done.stderr
            (folder / ".installed").touch()
        return python

    def _has(self, commit: str) -> bool:
        asked = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
        return subprocess.run(asked, cwd=self.clone, capture_output=True, timeout=GIT_S_MAX).returncode == 0

    def _fetch(self, commit: str) -> None:
        """A shallow clone lacks it; a server gives a commit that a branch holds by its id."""
        try:
            git(self.clone, "fetch", "--quiet", "--depth=1", "origin", commit)
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip()
            raise CommitMissing(f"this clone lacks {commit}, and origin did not give it: {said}") from error


def git(clone: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=clone, capture_output=True, text=True, timeout=GIT_S_MAX, check=True)
    return done.stdout.strip()


def environment_name(lock: Path) -> str:
    return f"environment-{hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]}"
