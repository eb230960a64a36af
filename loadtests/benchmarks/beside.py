"""One measurement in two checkouts, in turns: did a change cost anything?

A round runs it here, in the other checkout, and here once more; who begins changes with each round. The two runs here
differ by nothing but the hour, so their ratios say what this machine can tell apart (A/A): a difference between the
checkouts that lies inside their range is noise, and is called so. Every run is a process of its checkout's own
environment, as a person would start it. A run that is refused is begun once more, and a second refusal ends the whole
comparison.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from loadtests.measurement.conditions import commit, conditions
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result

HERE: Final = Path(__file__).parents[2]
RUN_S_MAX: Final = 1_200
"""One run; the slowest of them, `orders`, takes a minute a round."""
ROUNDS_MIN: Final = 3
"""Fewer ratios than this have no range worth the name."""


@dataclass(frozen=True, slots=True)
class Run:
    """One way to start the measurement: in which checkout, and with which further arguments."""

    name: str
    checkout: Path
    arguments: tuple[str, ...] = ()


def measure(
    say: Say, benchmark: str, other: Path, *, arguments: Sequence[str], stacks: tuple[str, str] | None, rounds: int
) -> tuple[dict[str, Any], Path]:
    """Raises MeasurementRefused when the other folder is no installed checkout, or a run fails."""
    where = conditions()
    ours = ("--stack", stacks[0]) if stacks else ()
    theirs = ("--stack", stacks[1]) if stacks else ()
    runs = [
        Run("here", HERE, (*arguments, *ours)),
        Run("other", other.resolve(), (*arguments, *theirs)),
        Run("here_again", HERE, (*arguments, *ours)),
    ]
    measured: list[dict[str, dict[str, float]]] = []
    for number in range(rounds):
        turn = runs[number % 3 :] + runs[: number % 3]
        measured.append({run.name: run_with_second_try(benchmark, run, say) for run in turn})
        say(f"round {number + 1} of {rounds}: {json.dumps(measured[-1])}")
    compared = compare(measured)
    document = {
        "benchmark": "beside",
        "what": f"{benchmark} here and in another checkout in turns; ratios: here / other, here / here again (A/A)",
        "conditions": where | {"other_commit": commit(other)},
        "settings": {"benchmark": benchmark, "arguments": list(arguments), "rounds": rounds},
        "median": compared,
        "rounds": measured,
    }
    return document, write_result(f"beside_{benchmark}", document)


def run_with_second_try(benchmark: str, run: Run, say: Say) -> dict[str, float]:
    """As `run_once`; a benchmark refuses a run in which the machine was busy with something else. Raises
    MeasurementRefused."""
    try:
        return run_once(benchmark, run)
    except MeasurementRefused as error:
        say(f"once more: {error}")
        return run_once(benchmark, run)


def run_once(benchmark: str, run: Run) -> dict[str, float]:
    """Its medians. The result file that the run leaves is taken away: its figures are kept in ours. Raises
    MeasurementRefused."""
    command = (".venv/bin/python", "-m", "loadtests", "bench", benchmark, "--rounds", "1", *run.arguments)
    try:
        done = subprocess.run(command, cwd=run.checkout, capture_output=True, text=True, timeout=RUN_S_MAX)
    except FileNotFoundError as error:
        raise MeasurementRefused(f"{run.checkout} is no checkout with an environment: `make install` there") from error
    except subprocess.TimeoutExpired as error:
        raise MeasurementRefused(f"{benchmark} in {run.checkout} took more than {RUN_S_MAX} s") from error
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise MeasurementRefused(f"{benchmark} in {run.checkout} ended with {done.returncode}: {words[0]}")
    result = json.loads(done.stdout)
    (run.checkout / result["file"]).unlink()
    return flat(result["median"])


def flat(figures: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """{"router": {"p50_ms": 1}} as {"router.p50_ms": 1.0}: a benchmark of several peers has figures for each."""
    found: dict[str, float] = {}
    for name, figure in figures.items():
        if isinstance(figure, dict):
            found |= flat(figure, f"{prefix}{name}.")
        else:
            found[prefix + name] = float(figure)
    return found


def compare(measured: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """By figure: the median ratio to the other, over rounds, the range of the A/A ratios, and whether it is inside.

    Each round has three runs, so a ratio and its noise come from the same minutes. `here` is the mean of its two runs.
    Figures that only one side has, or that are zero or below somewhere, are left out: they have no ratio.
    """
    compared: dict[str, dict[str, Any]] = {}
    shared = [name for name in measured[0]["here"] if name in measured[0]["other"]]
    for name in shared:
        rounds = [(each["here"][name], each["other"][name], each["here_again"][name]) for each in measured]
        if any(min(figures) <= 0 for figures in rounds):
            continue  # a difference or a count that may be zero has no ratio
        ratios = [(here + again) / 2 / other for here, other, again in rounds]
        # which of the two equal runs stands above the line is chance: both ways round belong to the range
        same = [ratio for here, _, again in rounds for ratio in (here / again, again / here)]
        compared[name] = {
            "here": round(median((here + again) / 2 for here, _, again in rounds), 3),
            "other": round(median(other for _, other, _ in rounds), 3),
            "ratio": round(median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "aa_range": [round(min(same), 3), round(max(same), 3)],
            "inside_aa_range": min(same) <= median(ratios) <= max(same),
        }
    return compared
