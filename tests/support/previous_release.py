"""The previous release as a checkout of its own with an environment of its own, kept from run to run.

`.tools/releases/<commit>` holds its files (`git archive`: no history, no worktree to forget). Its environment is this
one's where both have the same lock, else one made from its lock and kept under the lock's hash. With an empty list the
current commit stands in for it, with a comment more in one routine so that its code has a schema of its own: that
proves the machinery, and nothing about another release.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.backends.checkout import project_root
from tests.support.release_list import read_releases

GIT_S_MAX = 120
END_S_MAX = 120
"""To take a stack down again."""
INSTALL_S_MAX = 600
"""From the packages' cache it takes seconds; on a new machine they are fetched."""
_LOCK = "requirements-dev.lock"


@dataclass(frozen=True)
class PreviousRelease:
    """A checkout that is not this one."""

    root: Path
    python: Path
    name: str
    is_itself: bool
    """The list is empty: it is the current commit."""

    def run(
        self, arguments: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` in its checkout. Its packages come before what the environment has installed. At its limit
        it is interrupted and may end what it started; then it is a failure of its own."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COVERAGE"))}
        environ |= {"PYTHONPATH": str(self.root), **(environment or {})}
        command = [str(self.python), *arguments]
        with subprocess.Popen(
            command, cwd=self.root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=END_S_MAX)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def previous_release() -> PreviousRelease:
    """The last listed release; skips the test where its commit cannot be had, and fails it under CI=true."""
    listed = read_releases()
    commit = listed[-1].commit if listed else _git("rev-parse", "HEAD")
    name = listed[-1].name if listed else f"{commit[:12]}, this very commit: no release is listed yet"
    root = project_root() / ".tools" / "releases" / (commit if listed else f"{commit}-stands-in")
    if not root.exists():
        _extract(commit, root, is_itself=not listed)
    return PreviousRelease(root, _environment(root), name, not listed)


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=project_root(), capture_output=True, text=True, timeout=GIT_S_MAX, check=True
    )
    return done.stdout.strip()


def _extract(commit: str, root: Path, *, is_itself: bool) -> None:
    """Beside and renamed: what is there is whole."""
    if not _has(commit):
        _fetch(commit)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        archive = Path(folder) / "files.tar"
        _git("archive", "--format=tar", f"--output={archive}", commit)
        beside = Path(folder) / "checkout"
        with tarfile.open(archive) as files:
            files.extractall(beside, filter="data")
        if is_itself:
            with (beside / "cell" / "sql" / "procedures" / "clock_v1.sql").open("a") as routine:
                routine.write("-- stands in for the previous release\n")
        beside.rename(root)


def _has(commit: str) -> bool:
    asked = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(asked, cwd=project_root(), capture_output=True, timeout=GIT_S_MAX).returncode == 0


def _fetch(commit: str) -> None:
    """A shallow clone lacks it; a server gives a commit that a branch holds by its id."""
    try:
        _git("fetch", "--quiet", "--depth=1", "origin", commit)
    except subprocess.CalledProcessError as error:
        reason = f"this clone lacks {commit}, the previous release, and origin did not give it: {error.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; fetch the branch's history before `make drills`")
        pytest.skip(reason)


def _environment(root: Path) -> Path:
    lock = (root / _LOCK).read_bytes()
    if lock == (project_root() / _LOCK).read_bytes():
        return Path(sys.executable)
    digest = hashlib.sha256(lock + sys.version.encode()).hexdigest()[:16]
    folder = project_root() / ".tools" / "releases" / f"environment-{digest}"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        uv = (sys.executable, "-m", "uv")
        environ = os.environ | {"PYTHONPATH": str(project_root() / ".tools"), "UV_PYTHON_DOWNLOADS": "never"}
        for command in (
            (*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)),
            (*uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(python), "-r", str(root / _LOCK)),
        ):
            done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=INSTALL_S_MAX)
            assert done.returncode == 0, done.stderr
        (folder / ".installed").touch()
    return python
