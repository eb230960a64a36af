"""An exported chain: proven by the file and its manifest alone; whatever is done to either shows."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from shardctl import output
from shardctl.audit.export import manifest_path, read_manifest, write_export
from shardctl.audit.head import Head
from shardctl.audit.row import AuditRow
from shardctl.audit.verify import verify_export, verify_rows
from shardctl.audit.walk import Fault
from shardctl.cli import make_app
from shardctl.errors import Refused
from tests.unit.shardctl.audit.test_walk import CHAIN, HEADS, rewritten_from


def nobody(_: int) -> None:
    """Nobody watches."""


def export(path: Path, rows: Sequence[AuditRow] = CHAIN) -> Path:
    write_export(path, rows, stack="mine", exported_at="2026-11-30T16:00:00.000000Z")
    return path


def test_a_whole_file_and_a_newer_part_of_it(tmp_path: Path) -> None:
    walked, manifest = verify_export(export(tmp_path / "all.jsonl"), HEADS, nobody)
    assert walked.is_intact
    assert (walked.rows, walked.heads_compared, manifest.stack) == (20, 2, "mine")
    part, _ = verify_export(export(tmp_path / "part.jsonl", CHAIN[10:15]), HEADS, nobody)
    assert part.is_intact
    assert (part.first, part.last, part.heads_compared) == (11, 15, 1)
    assert verify_rows(CHAIN, HEADS, nobody).is_intact


def test_a_file_is_made_whole_or_not_at_all_and_never_over_another(tmp_path: Path) -> None:
    path = export(tmp_path / "all.jsonl")
    with pytest.raises(Refused, match="is there already"):
        export(path)
    with pytest.raises(Refused, match="nothing is exported"):
        export(tmp_path / "none.jsonl", [])
    with pytest.raises(Refused, match="cannot be written"):
        export(tmp_path / "no-folder" / "x")

    def broken() -> Iterator[AuditRow]:
        yield CHAIN[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_export(tmp_path / "half", broken(), stack="mine", exported_at="")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["all.jsonl", "all.jsonl.manifest.json"]


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def touch(path: Path) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return touch


@pytest.mark.parametrize(
    ("touch", "faults"),
    [
        (lines(lambda rows: [rows[0].replace(b"ann", b"bob"), *rows[1:]]), [Fault.EDITED, Fault.OTHER_FILE]),
        (lines(lambda rows: [*rows[:5], *rows[6:]]), [Fault.MISSING, Fault.OTHER_FILE]),
        (lines(lambda rows: rows[:-1]), [Fault.CUT_OFF, Fault.OTHER_FILE]),
        (lines(lambda rows: [*rows, rows[-1]]), [Fault.MISPLACED, Fault.OTHER_FILE]),
        (lines(lambda rows: [*rows[:5], b"nonsense\n", *rows[5:]]), [Fault.MALFORMED, Fault.OTHER_FILE]),
        (lines(lambda rows: [row.replace(b'{"number"', b'{ "number"') for row in rows]), [Fault.OTHER_FILE]),
        (lines(lambda _: []), [Fault.CUT_OFF, Fault.OTHER_FILE]),
    ],
)
def test_what_was_done_to_a_file_shows(tmp_path: Path, touch: Callable[[Path], None], faults: list[Fault]) -> None:
    path = export(tmp_path / "all.jsonl")
    touch(path)
    walked, _ = verify_export(path, {}, nobody)
    assert [finding.fault for finding in walked.findings] == faults


def test_a_forged_file_with_a_forged_manifest_shows_by_the_heads(tmp_path: Path) -> None:
    path = export(tmp_path / "forged.jsonl", rewritten_from(9))
    assert verify_export(path, {}, nobody)[0].is_intact
    assert [each.fault for each in verify_export(path, HEADS, nobody)[0].findings] == [Fault.REWRITTEN]


def test_a_file_without_its_manifest_or_with_nonsense_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "all.jsonl")
    for content in (b"nonsense", b"{}", manifest_path(path).read_bytes().replace(b"audit-export/1", b"audit-export/9")):
        manifest_path(path).write_bytes(content)
        with pytest.raises(Refused):
            read_manifest(path)
    manifest_path(path).unlink()
    with pytest.raises(Refused, match="cannot be read"):
        verify_export(path, {}, nobody)


def test_the_command_needs_no_stack_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDCTL_STATE_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("SHARDCTL_STACK", "absent")
    seen = io.StringIO()
    monkeypatch.setattr(output, "console", Console(file=seen, width=80))
    path = export(tmp_path / "all.jsonl")
    done = CliRunner().invoke(make_app(), ["audit", "verify", "--file", str(path)])
    assert done.exception is None, done.exception
    assert "rows 1 to 20, head " in seen.getvalue()
    assert "not compared with what was published" in seen.getvalue()
    path.write_bytes(path.read_bytes().replace(b"slow disk", b"quick disk"))
    done = CliRunner().invoke(make_app(), ["audit", "verify", "--file", str(path), "--json"])
    assert isinstance(done.exception, Refused)
    assert "the first at row 1" in str(done.exception)
    assert '"fault": "edited"' in done.output


def test_two_heads_of_one_row_that_differ_cannot_both_be_right() -> None:
    heads = {5: (*HEADS[5], Head(5, "cd" * 32, "2026-11-30T06:00:00Z"))}
    assert [each.fault for each in verify_rows(CHAIN, heads, nobody).findings] == [Fault.REWRITTEN]
