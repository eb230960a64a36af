"""SQL of a release lets other releases live beside it: each file is read by the rules, and each rule finds its breach.

Conditions 1, 3, 10, 11 and 13 of code in the database.
"""

from pathlib import Path

import pytest

from infra.backends.checkout import project_root
from tests.support.sql_rules import Sources, broken_rules, named_by_schema, read_sources

PACKAGES = ("cell", "shardctl")
HEAD = "create or replace function {}() returns {} language plpgsql security definer {} as $$ {} $$;"
PATH = "set search_path from current"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_keeps_the_rules(package: str) -> None:
    sources = read_sources(package, project_root())
    assert {"migrations", "procedures", "grants"} <= {folder for folder, _ in sources.files}
    assert list(broken_rules(sources)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_calls_a_release_by_the_schema_of_the_tables(package: str) -> None:
    assert list(named_by_schema(read_sources(package, project_root()), project_root())) == []


@pytest.mark.parametrize(
    ("folder", "text", "rule"),
    [
        ("procedures", HEAD.format("brokerage.x", "int", PATH, ""), "without a schema"),
        ("procedures", HEAD.format("another", "int", PATH, ""), "named as the file"),
        ("procedures", HEAD.format("x", "int", PATH, "") * 2, "one thing"),
        ("procedures", HEAD.format("x", "int", "set search_path = brokerage, pg_temp", ""), "from current"),
        ("procedures", HEAD.format("x", "int", "", ""), "only an inlined sql function"),
        ("procedures", HEAD.format("x", "setof brokerage.orders", PATH, ""), "name the columns"),
        ("procedures", HEAD.format("x", "int", PATH, "return query select * from orders"), "name the columns"),
        ("procedures", HEAD.format("x", "int", PATH, "select to_jsonb(o) from orders o"), "name the fields"),
        (
            "procedures",
            HEAD.format("x", "int", PATH, "update orders set a = 1 returning to_jsonb(orders)"),
            "name the fields",
        ),
        ("procedures", "create function x() returns int language sql begin atomic select 1; end;", "begin atomic"),
        ("views", "create or replace view x as select * from brokerage.orders;", "name the columns"),
        ("views", "create or replace view orders as select 1;", "hides it"),
        ("migrations", "create view brokerage.x as select 1;", "belongs to the release"),
        ("migrations", "create function brokerage.x() returns int language sql return 1;", "belongs to the release"),
        ("migrations", "alter table brokerage.orders alter column symbol type varchar;", "add a column"),
    ],
)
def test_a_breach_is_named_with_its_file_and_rule(folder: str, text: str, rule: str) -> None:
    name = {"views": "orders.sql" if "view orders" in text else "x.sql", "migrations": "0060_pre_x.sql"}
    file = name.get(folder, "x.sql")
    tables = {("migrations", "0001_pre_books.sql"): "create table orders (symbol text);"}
    [found] = broken_rules(Sources("cell", {**tables, (folder, file): text}))
    assert found.startswith(f"cell/sql/{folder}/{file}: ")
    assert rule in found


def test_a_post_migration_that_drops_by_cascade_is_named() -> None:
    text = "alter table brokerage.orders drop column symbol cascade;"
    [found] = broken_rules(Sources("cell", {("migrations", "0060_post_x.sql"): text}))
    assert "by cascade" in found


def test_what_the_rules_allow() -> None:
    files = {
        ("procedures", "x.sql"): "create or replace function x() returns int language sql stable return 1;",
        ("procedures", "y.sql"): HEAD.format("y", "setof brokerage.judged_report", PATH, ""),
        ("procedures", "z.sql"): HEAD.format("z", "int", PATH, "with c as (select 1) select to_jsonb(c) from c"),
        ("migrations", "0060_pre_x.sql"): "create function brokerage.x() returns trigger language plpgsql as '';",
        ("migrations", "0001_pre_books.sql"): "create table orders (symbol text); create view v as select 1;",
    }
    assert list(broken_rules(Sources("cell", files))) == []


def test_a_call_by_schema_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "queries.py").write_text('A = "select x_v1()"\nB = "select brokerage.x_v1()"\n')
    [found] = named_by_schema(Sources("cell", {("procedures", "x_v1.sql"): ""}), tmp_path)
    assert found.startswith("queries.py:2: write x_v1 without a schema")
