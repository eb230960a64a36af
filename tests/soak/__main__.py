"""`python -m tests.soak --seed S --rounds N`: run what is left of a soak, one line per run into `results.jsonl`.

Interrupted or killed, it goes on with the next run when it is begun again with the same seed on the same commit. A run
that was cut off leaves no line. It never changes a line that is there; commit the file to keep what was found.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from infra.backends.checkout import project_root
from tests.soak.rounds import Result, Run, plan, remaining
from tests.support.release_cache import git

RESULTS: Final = Path(__file__).with_name("results.jsonl")
RUN_S_MAX: Final = 3_600.0
"""Of one run: the longest takes ten minutes, and one that hangs must not stop a night."""


def main() -> int:
    """0: everything that was run has passed. 1: something failed, the lines say what."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the soak: the same one goes on where it stopped")
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is run (a round: half an hour)")
    arguments = parser.parse_args()
    commit = current_commit()
    left = remaining(plan(arguments.seed, arguments.rounds), read_results(), commit, arguments.seed)
    failed = 0
    for position, run in enumerate(left, 1):
        print(f"{position} of {len(left)}: round {run.round}, {run.case}, seed {run.seed}", flush=True)
        result = execute(run, commit, arguments.seed)
        with RESULTS.open("a") as sink:
            sink.write(json.dumps(asdict(result)) + "\n")
        failed += result.outcome != 0
    print(f"{len(left)} run, {failed} failed: {RESULTS}")
    return int(failed > 0)


def execute(run: Run, commit: str, soak: int) -> Result:
    """Its output goes to the terminal. A run beyond its limit is interrupted, so that it takes its stacks down, and has
    failed."""
    command = (sys.executable, "-m", "pytest", run.case, f"--order-seed={run.seed}", f"--hypothesis-seed={run.seed}")
    began = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "DRILL_SEED": str(run.seed)})
    try:
        outcome = process.wait(RUN_S_MAX)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        outcome = process.wait(RUN_S_MAX) or 1
    seconds = round(time.monotonic() - began, 1)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Result(commit, soak, run.round, run.case, run.seed, outcome, seconds, at)


def current_commit() -> str:
    """With a mark if files differ from it, other than the results: such runs are told apart from the commit's own."""
    root = project_root()
    changed = git(root, "status", "--porcelain", "--", ".", f":(exclude){RESULTS.relative_to(root)}")
    return git(root, "rev-parse", "HEAD") + ("-changed" if changed else "")


def read_results() -> list[Result]:
    if not RESULTS.exists():
        return []
    return [Result(**json.loads(line)) for line in RESULTS.read_text().splitlines()]


if __name__ == "__main__":
    sys.exit(main())
