"""The person's file of contexts: where it lies, who may read it, and that nothing in it is lost."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shardctl.context_file import change_contexts, context_path, read_contexts
from shardctl.contexts import CHECKOUT, Context, OnThisMachine, SettingsInvalid, with_context
from shardctl.private_file import changing, replace_private


def add(path: Path, name: str) -> None:
    change_contexts(path, lambda text, where: with_context(text, Context(name, OnThisMachine(name)), where))


def test_it_lies_where_the_person_keeps_settings() -> None:
    assert context_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/cell-brokerage/shardctl.toml")
    home = Path.home() / ".config" / "cell-brokerage" / "shardctl.toml"
    assert context_path({}) == context_path({"XDG_CONFIG_HOME": "relative"}) == home


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.toml"
    assert set(read_contexts(path).by_name) == {CHECKOUT}
    add(path, "a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert set(read_contexts(path).by_name) == {CHECKOUT, "a"}
    assert os.listdir(path.parent) == ["x.toml"]


def test_two_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    names = [f"c{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: add(path, name), names))
    assert set(read_contexts(path).by_name) == {CHECKOUT, *names}


def test_a_broken_file_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"current = \xff\n")
    path.chmod(0o600)
    with pytest.raises(SettingsInvalid, match=r"x.toml:1: is not UTF-8"):
        add(path, "a")
    path.write_text("# kept\n[contexts.b\n")
    with pytest.raises(SettingsInvalid, match=r"x.toml:2: "):
        add(path, "a")
    assert path.read_text() == "# kept\n[contexts.b\n"
    path.write_bytes(b"#" * 262_145)
    with pytest.raises(SettingsInvalid, match="262144 bytes"):
        read_contexts(path)
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        read_contexts(tmp_path)


def test_one_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("")
    for mode in (0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(SettingsInvalid, match=f"can be changed by others .mode {mode:o}.: `chmod go-w "):
            read_contexts(path)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    kept, path = tmp_path / "kept.toml", tmp_path / "x.toml"
    path.symlink_to(kept)
    with changing(path):
        replace_private(path, "# new\n")
    assert path.is_symlink()
    assert kept.read_text() == "# new\n"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(SettingsInvalid, match=r"cannot be (read|written)"):
        add(tmp_path / "x" / "y.toml", "a")
    with pytest.raises(OSError, match="directory"):
        replace_private(tmp_path, "text")
    assert os.listdir(tmp_path) == ["x"]


def test_the_mode_is_that_of_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file takes the name between the two looks: what others may write is still not believed."""
    path, safe = tmp_path / "x.toml", tmp_path / "safe.toml"
    path.write_text('[contexts.theirs]\nstack = "a"\n')
    path.chmod(0o666)
    safe.write_text("")
    safe.chmod(0o600)
    opened = Path.open

    def replaced(self: Path, *args: Any, **options: Any) -> Any:
        file = opened(self, *args, **options)
        safe.rename(path)
        return file

    monkeypatch.setattr(Path, "open", replaced)
    with pytest.raises(SettingsInvalid, match="can be changed by others"):
        read_contexts(path)
