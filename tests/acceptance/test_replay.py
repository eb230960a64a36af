"""A tape through the whole platform: equal to the last micro-dollar, once per run name; what is no tape is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.backends.checkout import project_root
from loadtests.replay.generated_tape import generate_tape
from tests.acceptance.test_demo import run_loadtests
from tests.support.stack import Stack

RECORDED = project_root().parent / "shared" / "data" / "lobster-aapl" / "message.csv"


def replay(stack: Stack, messages: Path, symbol: str, run: str, *more: str) -> dict[str, Any]:
    done = run_loadtests(
        stack, "replay", "--messages", str(messages), "--symbol", symbol, "--run", run, "--json", *more
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if report["equal"] else 1)
    return report


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    path = tmp_path / "tape.csv"
    path.write_text(generate_tape(11, rows=300, mid_price=1_850_000, partial_cancels=True))
    return path


def test_a_generated_tape_is_reproduced_exactly(stack: Stack, tape: Path) -> None:
    report = replay(stack, tape, "NKE", "gen-a", "--customers", "4")
    assert report["differences"] == []
    assert report["platform"]["fills"] == report["tape"]["fills"] > 10
    assert report["platform"]["cost_micros"] == report["tape"]["cost_micros"]
    assert set(report["cells"]) >= {"cell-1", "cell-2"}
    assert not any("no customer" in note for note in report["notes"])
    assert all(checks["healthy"] for checks in report["checks"].values())


def test_partial_cancellations_are_played_as_replacements_once_per_name(stack: Stack, tmp_path: Path) -> None:
    """Before, between and after fills; down to a fill that ends the order; taking all; of a sell; twice in a row. A run
    is played once; the same tape under another name is another run, by as many customers as are wanted."""
    rows = [
        *("1,1,11,100,1850000,1", "2,4,11,30,1850000,1", "3,2,11,20,1850000,1", "4,4,11,10,1850000,1"),
        *("5,2,11,5,1850000,1", "6,4,11,35,1850000,1"),
        *("7,1,12,50,1860000,-1", "8,2,12,10,1860000,-1", "9,2,12,10,1860000,-1", "10,3,12,30,1860000,-1"),
        *("11,1,13,40,1840000,1", "12,2,13,40,1840000,1"),
        *("13,1,14,9,1860000,-1", "14,2,14,4,1860000,-1", "15,4,14,2,1860000,-1"),
    ]
    path = tmp_path / "reduced.csv"
    path.write_text("".join(row + "\n" for row in rows))
    report = replay(stack, path, "KO", "reduced", "--customers", "2")
    assert report["differences"] == []
    assert report["tape"]["replaced"] == report["platform"]["replaces"] == 5
    assert report["platform"]["cancels"] == 2

    again = run_loadtests(stack, "replay", "--messages", str(path), "--symbol", "KO", "--run", "reduced")
    assert again.returncode == 1
    assert "already played" in again.stderr
    assert replay(stack, path, "KO", "again", "--customers", "3")["differences"] == []


def test_a_run_name_stands_for_one_tape(stack: Stack, tape: Path) -> None:
    stack.must("exchange", "load-tape", str(tape), "--symbol", "PFE", "--run", "other")
    tape.write_text(generate_tape(12, rows=300, mid_price=1_850_000))
    done = run_loadtests(stack, "replay", "--messages", str(tape), "--symbol", "PFE", "--run", "other")
    assert done.returncode == 1
    assert "other content" in done.stderr


def test_a_file_that_is_no_tape_is_refused_before_anything_happens(stack: Stack, tape: Path) -> None:
    tape.write_text(tape.read_text() + "34999.5,1,77,0,1850000,1\n")
    done = run_loadtests(stack, "replay", "--messages", str(tape), "--symbol", "NKE", "--run", "bad")
    assert done.returncode == 1
    assert f"{tape}, line 301: size 0 is not between" in done.stderr.replace("\n", "")


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded tape is not part of this repository")
def test_the_recorded_opening_of_aapl_is_reproduced_exactly(stack: Stack) -> None:
    report = replay(stack, RECORDED, "AAPL", "recorded-a", "--customers", "4")
    assert report["differences"] == []
    assert report["tape"]["orders"] == report["platform"]["placed"] == 471
    assert report["platform"]["fills"] == 94
    assert report["platform"]["cancels"] == 364
