"""The previous release as a checkout of its own with an environment of its own, kept from run to run.

With an empty list the current commit stands in for it, with a comment more in one routine so that its code has a schema
of its own: that proves the machinery, and nothing about another release.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.backends.checkout import project_root
from tests.support.release_cache import CommitMissing, ReleaseCache, git
from tests.support.release_list import read_releases

END_S_MAX = 120
"""To take a stack down again."""


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


@contextmanager
def previous_release() -> Iterator[PreviousRelease]:
    """The last listed release; skips the test where its commit cannot be had, and fails it under CI=true."""
    listed = read_releases()
    commit = listed[-1].commit if listed else git(project_root(), "rev-parse", "HEAD")
    folder = commit if listed else f"{commit}-stands-in"
    name = listed[-1].name if listed else f"{commit[:12]}, this very commit: no release is listed yet"
    wanted = [release.commit for release in listed] or [folder]
    with ReleaseCache(project_root(), project_root() / ".tools" / "releases").opened(wanted) as cache:
        root = _checkout(cache, commit) if listed else cache.checkout(commit, folder, _give_a_schema_of_its_own)
        yield PreviousRelease(root, cache.python(root), name, not listed)


def _checkout(cache: ReleaseCache, commit: str) -> Path:
    try:
        return cache.checkout(commit)
    except CommitMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{error}; fetch the branch's history before `make drills`")
        pytest.skip(str(error))


def _give_a_schema_of_its_own(checkout: Path) -> None:
    with (checkout / "cell" / "sql" / "procedures" / "clock_v1.sql").open("a") as routine:
        routine.write("-- stands in for the previous release\n")
