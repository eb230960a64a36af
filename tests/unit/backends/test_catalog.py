"""Names of back ends: those built in, entry points of other packages, and `module:factory`."""

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from infra.backends import catalog
from infra.backends.backend import Backend, BackendError, quiet
from infra.backends.checkout import default_stack_name, project_root
from infra.backends.local.backend import LocalBackend, open_local
from infra.backends.local.folders import StackFolder


def test_the_local_back_end_is_the_default(tmp_path: Path) -> None:
    for name in ("", "local"):
        opened = catalog.open_backend(name, "mine", tmp_path)
        assert isinstance(opened, LocalBackend)
        assert (opened.stack, opened.location) == ("mine", str(tmp_path / "mine"))
    assert list(tmp_path.iterdir()) == []


def test_the_local_back_end_and_its_factory_fulfil_the_protocols(tmp_path: Path) -> None:
    backend: Backend = LocalBackend("mine", StackFolder(tmp_path))  # mypy compares them
    factory: catalog.Factory = open_local
    assert factory("mine", tmp_path, quiet).stack == backend.stack


def test_another_package_may_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("elsewhere", "infra.backends.local.backend:open_local", catalog.ENTRY_POINTS)
    monkeypatch.setattr(catalog, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    assert catalog.names() == ("local", "elsewhere")
    assert catalog.find_factory("elsewhere") is open_local


@pytest.mark.parametrize("name", ["cloud", ":factory", "module:"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(BackendError, match=r"there is no back end .*; there are local, or name `module:factory`"):
        catalog.find_factory(name)


@pytest.mark.parametrize("name", ["not_installed:factory", "infra.backends.local.backend:nothing"])
def test_what_cannot_be_imported_is_named(name: str) -> None:
    with pytest.raises(BackendError, match=f"the back end '{name}' cannot be imported"):
        catalog.find_factory(name)


def test_where_a_stack_was_made_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there" / "yet"
    catalog.remember("", "mine", root)
    with pytest.raises(BackendError, match="made on 'local', not on 'cloud'"):
        catalog.open_backend("cloud", "mine", root)
    catalog.remember("infra.backends.local.backend:open_local", "mine", root)
    catalog.remember("", "mine", root)
    with pytest.raises(BackendError, match="made on 'infra"):
        catalog.open_backend("local", "mine", root)
    catalog.forget("mine", root)
    catalog.forget("mine", root)
    assert catalog.open_backend("local", "mine", root).stack == "mine"


def test_a_checkout_has_a_stack_of_its_own() -> None:
    assert (project_root() / "pyproject.toml").exists()
    assert default_stack_name().startswith("local-")
