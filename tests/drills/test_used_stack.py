"""On a stack that others have used: the demo ends green a second time, and a tape may have been loaded by hand."""

from pathlib import Path

import pytest

from loadtests.replay.generated_tape import generate_tape
from tests.acceptance.test_demo import run_loadtests
from tests.acceptance.test_replay import replay
from tests.support.stack import Stack


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    path = tmp_path / "tape.csv"
    path.write_text(generate_tape(11, rows=300, mid_price=1_850_000, partial_cancels=True))
    return path


def test_the_demo_ends_green_twice(stack: Stack) -> None:
    for seed in ("1", "2"):
        done = run_loadtests(stack, "demo", "--customers", "24", "--orders", "240", "--seed", seed)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "The books balance." in done.stdout


def test_the_tape_may_have_been_loaded_by_hand(stack: Stack, tape: Path) -> None:
    stack.must("exchange", "load-tape", str(tape), "--symbol", "DIS", "--run", "by-hand")
    assert replay(stack, tape, "DIS", "by-hand", "--customers", "2")["equal"]
