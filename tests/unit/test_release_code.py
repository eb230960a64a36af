"""The name of a release's schema: the same for the same files, whoever wrote them down; another for any difference."""

import pytest

from infra.runtime.database import with_session_settings
from infra.runtime.dsn import session_name, with_code
from infra.runtime.release_code import FOLDERS, INSTALLER_FORMAT, release_code, schema_name, session_path
from infra.runtime.settings import PostgresSettings
from infra.runtime.sql_files import SqlFile, read_sql

CODE = "code_0123456789ab"


def files(text: str, name: str = "x_v1.sql", folder: str = "procedures") -> tuple[tuple[str, SqlFile], ...]:
    return ((folder, SqlFile(name, text)),)


def test_line_ends_do_not_change_the_name() -> None:
    """Condition 5."""
    assert len({schema_name(files(text)) for text in ("a\nb\n", "a\r\nb\r\n", "a\rb\r")}) == 1


def test_every_name_text_folder_and_format_changes_it() -> None:
    """Condition 5."""
    names = {
        schema_name(files("a\n")),
        schema_name(files("a\n\n")),
        schema_name(files("a\n", name="y_v1.sql")),
        schema_name(files("a\n", folder="views")),
        schema_name((*files("a\n"), *files("", name="y.sql"))),
        schema_name(files("a\n"), INSTALLER_FORMAT + 1),
        # what ends one part and begins the next is no part of either
        schema_name(files("1:a", name="x")),
        schema_name(files("a", name="x1:")),
    }
    assert len(names) == 8


@pytest.mark.parametrize(("package", "tables"), [("cell", "brokerage"), ("shardctl", "control")])
def test_a_package_has_one_schema_of_code_beside_its_tables(package: str, tables: str) -> None:
    code = release_code(package)
    assert code == release_code(package)
    assert code.tables == tables
    assert session_path(code.schema) == f"{code.schema},pg_temp"
    assert {item for _, item in code.files} == {item for folder in FOLDERS for item in read_sql(package, folder)}
    assert "clock_v1" in code.names("procedures")


@pytest.mark.parametrize("name", ["brokerage", "code_", "code_0123456789aX", "code_0123456789ab,brokerage", ""])
def test_a_path_is_of_a_schema_of_code_alone(name: str) -> None:
    with pytest.raises(ValueError, match="is no schema of a release's code"):
        session_path(name)


def test_a_pool_keeps_the_options_of_its_dsn() -> None:
    """Condition 2: libpq itself would take one of two."""
    settings = PostgresSettings(dsn="postgresql://a@h/b?options=-c%20work_mem%3D8MB&passfile=/p+q", code=CODE)
    dsn = with_session_settings(settings, "cell-1-api")
    assert dsn.count("options=") == 1
    assert "options=-c%20work_mem%3D8MB%20-c%20lock_timeout%3D1000" in dsn
    assert f"-c%20search_path%3D{CODE},pg_temp" in dsn
    assert f"application_name=cell-1-api%20{CODE}" in dsn
    assert "passfile=/p+q" in dsn
    assert (
        with_code(with_code("postgresql://a@h/b", CODE, "x"), "code_ffffffffffff", "y").count("application_name") == 1
    )


def test_a_long_name_does_not_push_the_release_out() -> None:
    """PostgreSQL keeps 63 bytes, and `migrate` reads the release at their end."""
    assert session_name("a" * 80, CODE) == "a" * 45 + f" {CODE}"
    assert len(session_name("a" * 80, CODE)) == 63
