"""Receipts and public keys as files: what the commands write is what they read, and anything else is said to be so."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.security.keys import generate_key_files
from shardctl.cli import make_app
from shardctl.commands.move_records import receipt_rows
from shardctl.commands.moving import previewed
from shardctl.errors import Refused, UsageError
from shardctl.moves.history import ProvenReceipt
from shardctl.moves.offline import verify_files, written_keys
from shardctl.moves.receipt import read_public_keys, sign_receipt
from tests.unit.shardctl.moves.test_receipt import public, receipt


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Receipts as `users receipt --json` prints them, and the keys as `keys public --json` does."""
    folder = tmp_path / "keys"
    generate_key_files(folder)
    receipts, keys = tmp_path / "receipts.json", tmp_path / "keys.json"
    texts = [sign_receipt(folder, receipt()), sign_receipt(folder, receipt(pause_us=None))]
    receipts.write_text(json.dumps([{"user_id": "1", "claims": {}, "receipt": text} for text in texts]))
    keys.write_text(json.dumps(written_keys(read_public_keys(public(folder)))))
    return receipts, keys


def test_what_the_commands_write_is_verified_without_a_stack(files: tuple[Path, Path]) -> None:
    receipts, keys = files
    done = CliRunner().invoke(
        make_app(), ["users", "receipt", "--verify", str(receipts), "--keys", str(keys), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert [each["claims"]["pause_us"] for each in json.loads(done.output)] == [41_000, None]
    shown = CliRunner().invoke(make_app(), ["users", "receipt", "--verify", str(receipts), "--keys", str(keys)])
    assert "2 verified: signed by the control service, and by the cell that each user left" in shown.output
    assert "41.0 ms" in shown.output


def test_one_bare_text_will_do(files: tuple[Path, Path]) -> None:
    receipts, keys = files
    text = json.loads(receipts.read_text())[0]["receipt"]
    receipts.write_text(text + "\n")
    (proven,) = verify_files(receipts, keys)
    assert dict(receipt_rows(proven))["moved"] == "cell-1 to cell-2, operation 17"
    unknown = ProvenReceipt(text, {**proven.claims, "pause_us": None}, proven.certificate)
    assert dict(receipt_rows(unknown))["pause"] == "not known: the mover was killed in it"


def test_the_one_that_proves_nothing_is_named(files: tuple[Path, Path]) -> None:
    receipts, keys = files
    listed = json.loads(receipts.read_text())
    listed[1]["receipt"] = listed[1]["receipt"][:-4] + "AAAA"
    receipts.write_text(json.dumps(listed))
    with pytest.raises(Refused, match="receipt 2 of"):
        verify_files(receipts, keys)


def test_files_that_hold_something_else(files: tuple[Path, Path], tmp_path: Path) -> None:
    receipts, keys = files
    with pytest.raises(UsageError, match="cannot be read"):
        verify_files(tmp_path / "missing", keys)
    with pytest.raises(UsageError, match="shardctl keys public"):
        verify_files(receipts, receipts)
    for content in ("[]", '[{"claims": {}}]', "[7]"):
        receipts.write_text(content)
        with pytest.raises(UsageError, match="holds no receipt"):
            verify_files(receipts, keys)


@pytest.mark.parametrize("words", [[], ["17", "--verify", "f"], ["--verify", "f"], ["17", "--keys", "f"]])
def test_either_an_operation_or_files(words: list[str]) -> None:
    done = CliRunner().invoke(make_app(), ["users", "receipt", *words])
    assert isinstance(done.exception, UsageError)


def test_a_dry_run_says_how_much_and_who_could_not_leave_just_now() -> None:
    user = {"user_id": "ann", "from": "cell-1", "rows": 1_200, "bytes": 2_097_152, "unfinished": {}}
    preview = {"users": [user], "rows": 1_200, "bytes": 2_097_152, "pause_us": 41_000, "moves_measured": 20}
    _, copied, pause = previewed(preview)
    assert copied == "to copy: 1,200 rows, 2,048 kB"
    assert pause == "pause of each: 41 ms, the median of the last 20 moves"
    waiting = {**user, "unfinished": {"orders at the venue": 2}}
    lines = previewed({**preview, "users": [waiting], "pause_us": None, "moves_measured": 0})
    assert lines[2].endswith("a halt ends by itself after 1,000 ms")
    assert lines[3] == "ann could not leave just now: 2 orders at the venue"
