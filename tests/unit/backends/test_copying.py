"""A copy ends with who wanted it: nothing writes into a folder that is being removed."""

import asyncio
import os
import stat
from pathlib import Path

import psutil
import pytest

from infra.backends.backend import BackendError
from infra.backends.local.backup_lock import marks_of
from infra.backends.local.copying import copy_file, copy_tree
from infra.backends.local.folders import StackFolder
from infra.backends.local.orphans import find_marked

pytestmark = pytest.mark.anyio
FILES = 20_000
"""A second's work for `cp`, which is met in its first milliseconds."""


def tree_of(root: Path, files: int) -> Path:
    """Names for one file: made at once, and copied one by one."""
    source = root / "source"
    (source / "base").mkdir(parents=True)
    one = source / "PG_VERSION"
    one.write_text("18\n")
    for number in range(files):
        os.link(one, source / "base" / str(number))
    return source


async def test_a_cancelled_copy_is_over_when_the_cancelled_step_is(tmp_path: Path) -> None:
    source, target = tree_of(tmp_path, FILES), tmp_path / "target"
    [(variable, value)] = marks_of(StackFolder(tmp_path), "cell-1-postgres").items()
    copying = asyncio.create_task(copy_tree(source, target, {variable: value}))
    begun = os.path.join(target, "base")
    while not os.path.exists(begun):  # noqa: ASYNC240 - as soon as it is there
        await asyncio.sleep(0)
        assert not copying.done()
    [cp] = [child for child in psutil.Process().children() if child.name() == "cp"]
    assert cp.environ()[variable] == value, "whoever comes after a kill finds it"
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    copied = len(os.listdir(begun))
    assert copied < FILES, "it was not met in the middle"
    assert not cp.is_running()
    assert find_marked(variable, value) == []
    assert len(os.listdir(begun)) == copied


async def test_what_is_copied_is_what_was_there_and_ours_alone(tmp_path: Path) -> None:
    source, target = tree_of(tmp_path, 3), tmp_path / "target"
    (source / "link").symlink_to("PG_VERSION")
    source.chmod(0o755)
    (source / "PG_VERSION").chmod(0o640)
    await copy_tree(source, target, {})
    assert (target / "link").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert stat.S_IMODE((target / "PG_VERSION").stat().st_mode) == 0o640
    assert sorted(path.name for path in (target / "base").iterdir()) == ["0", "1", "2"]
    await copy_file(source / "PG_VERSION", target / "other", {})
    assert (target / "other").read_text() == "18\n"
    with pytest.raises(FileExistsError):
        await copy_tree(source, target, {})
    with pytest.raises(BackendError, match=r"copying failed: cp: .*nothing"):
        await copy_file(tmp_path / "nothing", target, {})
