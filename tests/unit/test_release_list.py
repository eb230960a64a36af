"""The committed list of releases is read strictly, and the one that is committed can be read."""

from pathlib import Path

import pytest

from tests.support.release_list import PATH, ListedRelease, read_releases

A, B = "a" * 40, "b" * 40


def test_the_committed_list_is_read() -> None:
    assert PATH.is_file()
    assert all(len(listed.commit) == 40 for listed in read_releases())


def test_the_oldest_is_first_and_comments_are_none(tmp_path: Path) -> None:
    path = tmp_path / "releases.txt"
    path.write_text(f"# why\n\n{A} 2026.1\n{B} 2026.2\n")
    assert read_releases(path) == [ListedRelease(A, "2026.1"), ListedRelease(B, "2026.2")]
    path.write_text("# nothing yet\n")
    assert read_releases(path) == []


@pytest.mark.parametrize(
    "line", ["abc 2026.1", f"{A}", f"{A}  2026.1", f"{A} 2026.1 x", f"{A} 1\n{A} 2", f"{A} 1\n{B} 1"]
)
def test_what_is_no_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "releases.txt"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"releases.txt:\d: "):
        read_releases(path)
