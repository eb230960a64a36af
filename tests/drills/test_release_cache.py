"""A release is had from a shallow clone, runs in an environment of its own lock, and goes when no list names it.

A repository of two commits made here stands for ours; its clone is shallow and has only the second one. The environment
is a real one, of one package of our own lock, so that no other package is needed. A few seconds.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.backends.checkout import project_root
from tests.support.release_cache import LOCK, CommitMissing, ReleaseCache, environment_name, git

_ABSENT = "0" * 40


def locked(package: str) -> str:
    """The lines of one package in our lock, with its hashes."""
    text = (project_root() / LOCK).read_text()
    match = re.search(rf"^{package}==.*(?:\n {{4}}--hash=.*)+", text, re.M)
    assert match, package
    return match[0] + "\n"


@pytest.fixture
def shallow(tmp_path: Path) -> tuple[Path, str, str]:
    """The clone, and the commits of the older and of the newer release; only the newer one is in it."""
    source, bare, clone = tmp_path / "source", tmp_path / "bare.git", tmp_path / "clone"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main")
    commits = []
    for version, lock in (("1", locked("iniconfig")), ("2", (project_root() / LOCK).read_text())):
        (source / "version.txt").write_text(version)
        (source / LOCK).write_text(lock)
        git(source, "add", ".")
        identity = ("-c", "user.name=drill", "-c", "user.email=drill@example.com", "-c", "commit.gpgsign=false")
        git(source, *identity, "commit", "--quiet", "-m", version)
        commits.append(git(source, "rev-parse", "HEAD"))
    git(tmp_path, "clone", "--quiet", "--bare", str(source), str(bare))
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{bare}", str(clone))
    assert git(clone, "rev-list", "--all") == commits[1], "it has one commit"
    return clone, commits[0], commits[1]


def test_a_shallow_clone_fetches_the_release_by_its_id(shallow: tuple[Path, str, str], tmp_path: Path) -> None:
    clone, older, newer = shallow
    cache = ReleaseCache(clone, tmp_path / "releases")
    assert (cache.checkout(newer) / "version.txt").read_text() == "2"
    assert (cache.checkout(older) / "version.txt").read_text() == "1"
    shutil.rmtree(clone)
    assert (cache.checkout(older) / "version.txt").read_text() == "1", "kept"


def test_a_commit_that_nobody_has_is_named(shallow: tuple[Path, str, str], tmp_path: Path) -> None:
    cache = ReleaseCache(shallow[0], tmp_path / "releases")
    with pytest.raises(CommitMissing, match=_ABSENT):
        cache.checkout(_ABSENT)
    assert not cache.folder.exists()


def test_another_lock_is_another_environment_that_is_kept(shallow: tuple[Path, str, str], tmp_path: Path) -> None:
    clone, older, newer = shallow
    cache = ReleaseCache(clone, tmp_path / "releases")
    python = cache.python(cache.checkout(older))
    assert python.is_relative_to(cache.folder)
    found = subprocess.run(
        [str(python), "-c", "import iniconfig, importlib.util as u; print(u.find_spec('litestar'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "None", "what its lock does not name is not there"
    marked = python.parent.parent / "kept"
    marked.touch()
    assert cache.python(cache.checkout(older)) == python
    assert marked.exists(), "not made again"
    assert not cache.python(cache.checkout(newer)).is_relative_to(cache.folder), "the same lock, the same environment"


def test_what_no_list_names_goes_unless_somebody_uses_the_cache(shallow: tuple[Path, str, str], tmp_path: Path) -> None:
    clone, older, newer = shallow
    cache = ReleaseCache(clone, tmp_path / "releases")
    old_environment = environment_name(cache.checkout(older) / LOCK)
    cache.checkout(newer)
    for name in (old_environment, f"{older}-stands-in", "environment-0123456789abcdef", "somebody-elses"):
        (cache.folder / name).mkdir()
    (cache.folder / "a").symlink_to(clone)
    with ReleaseCache(clone, cache.folder).opened([older, newer]):
        assert not (cache.folder / "environment-0123456789abcdef").exists()
        assert {older, newer, old_environment, "somebody-elses", "a"} <= {path.name for path in cache.folder.iterdir()}
        with ReleaseCache(clone, cache.folder).opened([newer]):
            assert (cache.folder / older).exists(), "somebody uses it"
    with ReleaseCache(clone, cache.folder).opened([newer]):
        left = {path.name for path in cache.folder.iterdir() if path.is_dir()}
    assert left == {newer, "somebody-elses", "a"}
    assert (clone / "version.txt").exists(), "a link is never followed"
