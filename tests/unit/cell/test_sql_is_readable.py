"""SQL that is edited in place ends its lines where Python does. Landed migrations are never edited."""

import pytest

from infra.runtime.sql_files import read_sql

LINE_MAX = 120
LANDED_BEFORE = {"cell": "0031", "shardctl": "0009"}
"""The first migration of each package that was written under this rule."""


@pytest.mark.parametrize("package", ["cell", "shardctl"])
def test_no_line_of_a_procedure_a_check_or_a_view_is_longer_than_a_line_of_python(package: str) -> None:
    files = [(folder, item) for folder in ("procedures", "checks", "views") for item in read_sql(package, folder)]
    files += [("migrations", item) for item in read_sql(package, "migrations") if item.name >= LANDED_BEFORE[package]]
    too_long = [
        f"{folder}/{item.name}:{number}"
        for folder, item in files
        for number, line in enumerate(item.text.splitlines(), 1)
        if len(line) > LINE_MAX
    ]
    assert any(folder == "procedures" for folder, _ in files)
    assert too_long == []
