"""What SQL of a release may not say, so that two releases share one database: each rule finds files by their text.

Why each is there is in `cell/sql/README.md`. Other rules need no reader of
texts: the installer verifies paths and contents, and a session's path has no tables on it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FIRST_MIGRATION = {"cell": 49, "shardctl": 16}
"""From here on `brokerage` and `control` hold tables, types and trigger functions."""
TABLES_OF = {"cell": ("brokerage", "archive"), "shardctl": ("control",)}
_COMMENT = re.compile(r"--[^\n]*")
_CREATES = re.compile(r"create\s+(?:or\s+replace\s+)?(?:function|procedure|view)\s+([\w.]+)")
_CHANGES_TYPE = re.compile(r"alter\s+(?:column\s+)?\w+\s+(?:set\s+data\s+)?type\b")


@dataclass(frozen=True)
class Sources:
    """The texts of one package's `sql`, comments taken out, by folder and file name."""

    package: str
    files: dict[tuple[str, str], str]

    def tables(self) -> frozenset[str]:
        """Names without a schema; a table that was dropped since stays reserved."""
        texts = [text for (folder, _), text in self.files.items() if folder == "migrations"]
        return frozenset(name.split(".")[-1] for text in texts for name in re.findall(r"create table ([\w.]+)", text))

    def code(self) -> frozenset[str]:
        """What a release installs: routines and views."""
        return frozenset(name.removesuffix(".sql") for folder, name in self.files if folder in ("procedures", "views"))


def read_sources(package: str, root: Path) -> Sources:
    found = {
        (path.parent.name, path.name): _COMMENT.sub("", path.read_text()) for path in (root / package).rglob("*.sql")
    }
    return Sources(package, found)


def broken_rules(sources: Sources) -> Iterator[str]:
    """`folder/file: rule` for every rule that a file breaks."""
    tables = sources.tables()
    for (folder, name), text in sorted(sources.files.items()):
        found: Iterator[str] = iter(())
        if folder == "procedures":
            found = _of_a_routine(sources.package, name, text, tables)
        elif folder == "views":
            found = _of_a_view(sources.package, name, text, tables)
        elif folder == "migrations" and int(name[:4]) >= FIRST_MIGRATION[sources.package]:
            found = _of_a_migration(name, text)
        yield from (f"{sources.package}/sql/{folder}/{name}: {rule}" for rule in found)


def _of_a_routine(package: str, name: str, text: str, tables: frozenset[str]) -> Iterator[str]:
    yield from _of_code(package, name, text)
    head = text.split("$$", 1)[0]
    if "search_path" in head and "set search_path from current" not in head:
        yield "write `set search_path from current`: the installer sets the path of the release"
    is_plain = "language sql" in head and "security definer" not in head
    if "search_path" not in head and not is_plain:
        yield "write `set search_path from current`: only an inlined sql function does without"
    if "begin atomic" in text:
        yield "`begin atomic` holds the columns that it names: write the body as text"
    row = re.search(r"returns\s+setof\s+(?:\w+\.)?(\w+)", head)
    if row and row[1] in tables:
        yield "`returns setof` a table follows the table and not the release: name the columns"
    for alias in re.findall(r"\b(?:to_jsonb?|row_to_json)\(\s*(\w+)\s*\)", text):
        sources = re.findall(rf"\b(?:from|join|update|into|using)\s+(?:\w+\.)?(\w+)\s+(?:as\s+)?{alias}\b", text)
        if tables.intersection((alias, *sources)):
            yield "a table's row as JSON follows the table and not the release: name the fields"
    for table in re.findall(r"return query\s+select\s+\*\s+from\s+(?:\w+\.)?(\w+)", text):
        if table in tables:
            yield "`select *` from a table as a result follows the table and not the release: name the columns"


def _of_a_view(package: str, name: str, text: str, tables: frozenset[str]) -> Iterator[str]:
    yield from _of_code(package, name, text)
    if name.removesuffix(".sql") in tables:
        yield "a view named like a table hides it from every routine"
    if re.search(r"select\s+(?:\w+\.)?\*", text):
        yield "`select *` follows the table and not the release: name the columns"


def _of_code(package: str, name: str, text: str) -> Iterator[str]:
    created = _CREATES.findall(text)
    if created != [name.removesuffix(".sql")]:
        yield f"creates {created}: one thing, named as the file, and without a schema: the installer chooses it"


def _of_a_migration(name: str, text: str) -> Iterator[str]:
    for made in re.finditer(r"create\s+(?:or\s+replace\s+)?(view|function|procedure)\b[^;]*", text):
        if "returns trigger" not in made[0]:
            yield f"a {made[1]} belongs to the release: put it into sql/procedures or sql/views"
    if "_pre_" in name and _CHANGES_TYPE.search(text):
        yield "`pre` never changes a column's type, a kept release's view refuses it: add a column"
    if "_post_" in name and re.search(r"\bdrop\b[^;]*\bcascade\b", text):
        yield "`post` drops nothing by cascade: it would take a kept release's code with it"


def named_by_schema(sources: Sources, root: Path) -> Iterator[str]:
    """`file:line: rule` where Python or SQL calls a release's code by the schema of the tables."""
    schema = "|".join(TABLES_OF[sources.package])
    # `create view brokerage.x` is the layout before, which tests make
    pattern = re.compile(rf"(?<!view )\b(?:{schema})\.({'|'.join(sorted(sources.code(), key=len, reverse=True))})\b")
    ours = [path for path in root.iterdir() if not path.name.startswith(".")]
    paths = [path for item in ours for path in (item.rglob("*") if item.is_dir() else [item])]
    for path in sorted(path for path in paths if path.suffix in (".py", ".sql")):
        if "migrations" in path.parts or path.name == "test_sql_rules.py":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := pattern.search(line):
                yield f"{path.relative_to(root)}:{number}: write {found[1]} without a schema: it is the release's code"
