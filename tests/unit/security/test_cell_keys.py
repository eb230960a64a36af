"""A cell's own keys are made once; the directory tells everybody the public ones, and follows its file."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from infra.security.cell_keys import (
    DIRECTORY_FILE,
    follow_cell_keys,
    follow_operator_urls,
    follow_public_keys,
    generate_cell_keys,
    public_keys_in,
    write_cell_directory,
)
from infra.security.keys import CERTIFICATE_SIGNING_FILE as SIGNING_FILE
from infra.security.keys import CERTIFICATE_VERIFY_FILE as VERIFY_FILE
from infra.security.keys import KeyFileInvalid
from infra.security.signed_document import DocumentForeign, sign_document, verify_document
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId

CELL = Cell(CellId("cell-1"), operator_urls=("http://127.0.0.1:7",))


def test_keys_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "cell-1"
    generate_cell_keys(folder)
    made = {name: (folder / name).read_bytes() for name in (SIGNING_FILE, VERIFY_FILE)}
    generate_cell_keys(folder)
    assert {name: (folder / name).read_bytes() for name in made} == made
    assert stat.S_IMODE((folder / SIGNING_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / VERIFY_FILE).unlink()
    generate_cell_keys(folder)
    assert (folder / VERIFY_FILE).read_bytes() == made[VERIFY_FILE]


def test_what_a_cell_signs_is_believed_as_soon_as_the_directory_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "cell-1"
    generate_cell_keys(folder)
    text = sign_document(follow_cell_keys(folder), "a-form", "cell-1", {})
    keys, urls = follow_public_keys(tmp_path), follow_operator_urls(tmp_path)
    assert urls.current() == {}, "no cell is in the map yet"
    for follower in (keys, urls):
        follower._look_at_s = 0.0  # it looks once a second
    with pytest.raises(DocumentForeign):
        verify_document(keys, "a-form", text)
    known = replace(CELL, signing_keys=public_keys_in(folder))
    assert write_cell_directory(tmp_path, (known,))
    assert not write_cell_directory(tmp_path, (known,)), "it says so already"
    for follower in (keys, urls):
        follower._look_at_s = 0.0
    assert verify_document(keys, "a-form", text) == ("cell-1", {})
    assert urls.current() == {"cell-1": ("http://127.0.0.1:7",)}


@pytest.mark.parametrize("damaged", ["", "[", "{}", '[{"cell_id": "cell-1"}]'])
def test_a_damaged_directory_is_refused_kept_out_and_healed(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / DIRECTORY_FILE
    write_cell_directory(tmp_path, (CELL,))
    held = follow_operator_urls(tmp_path)
    path.write_text(damaged)
    held._look_at_s = 0.0
    assert held.current() == {"cell-1": ("http://127.0.0.1:7",)}, "what is in memory stays"
    with pytest.raises(KeyFileInvalid):
        follow_public_keys(tmp_path)
    assert write_cell_directory(tmp_path, (CELL,))
    assert follow_operator_urls(tmp_path).current() == held.current()


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    write_cell_directory(tmp_path, (replace(CELL, signing_keys=(("k", "A" * 43),)),))
    (row,) = json.loads((tmp_path / DIRECTORY_FILE).read_text())
    (tmp_path / DIRECTORY_FILE).write_text(json.dumps([row | {"signing_keys": {"k": "short"}}]))
    with pytest.raises(KeyFileInvalid):
        follow_public_keys(tmp_path)
