"""The name of a build follows the code, and nothing else; every process says it."""

import re
from pathlib import Path

import pytest

from infra.runtime.build import build_id, hash_files
from infra.runtime.telemetry import BUILD_INFO, Metrics


def test_this_build_has_a_name_that_its_metrics_say() -> None:
    assert re.fullmatch("[0-9a-f]{12}", build_id())
    assert f'{BUILD_INFO}{{release="{build_id()}"}} 1.0' in Metrics(()).render().decode()


def test_equal_files_are_one_build_and_any_edit_is_another(tmp_path: Path) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        (root / "cell" / "sql").mkdir(parents=True)
        (root / "cell" / "app.py").write_text("one")
        (root / "cell" / "sql" / "place.sql").write_text("two")
    a, b = (hash_files(tmp_path / name, ("cell",)) for name in "ab")
    assert a == b
    (tmp_path / "b" / "cell" / "README.md").write_text("no code")
    (tmp_path / "b" / "tests").mkdir()
    assert hash_files(tmp_path / "b", ("cell",)) == a


@pytest.mark.parametrize(("name", "text"), [("app.py", "onf"), ("app2.py", ""), ("sql/place.sql", "tw")])
def test_what_makes_another_build(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "cell" / "sql").mkdir(parents=True)
    (tmp_path / "cell" / "app.py").write_text("one")
    (tmp_path / "cell" / "sql" / "place.sql").write_text("two")
    before = hash_files(tmp_path, ("cell",))
    (tmp_path / "cell" / name).write_text(text)
    assert hash_files(tmp_path, ("cell",)) != before
