"""Every module of `shardctl` is imported by a unit or an integration test itself, not only by way of another module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardctl.cli import verbs

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "shardctl"
TESTS = (ROOT / "tests" / "unit", ROOT / "tests" / "integration")


def modules() -> list[str]:
    """Those with code in them: a package's docstring needs no test."""
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    )


def imported(source: str) -> Iterator[str]:
    """Names of modules, and names that may be modules of the package they come from."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.fixture(scope="module")
def known() -> frozenset[str]:
    """What tests import; and every command, which `commands/test_refusals.py` runs by its words."""
    sources = (path.read_text() for folder in TESTS for path in folder.rglob("*.py"))
    named = frozenset(name for source in sources if "shardctl" in source for name in imported(source))
    return named | {f"shardctl.commands.{verb.function.partition(':')[0]}" for _, verb in verbs()}


@pytest.mark.parametrize("module", modules())
def test_a_test_imports_it(module: str, known: frozenset[str]) -> None:
    assert module in known, f"no test in tests/unit or tests/integration imports {module}"


def test_ways_to_import_a_module() -> None:
    assert set(imported("import a.b, c\nfrom d.e import f")) == {"a.b", "c", "d.e", "d.e.f"}
