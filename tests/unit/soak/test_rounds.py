"""A soak that goes on where it stopped runs each case of each round once, and draws the same seeds."""

from dataclasses import replace

from infra.backends.checkout import project_root
from tests.soak.rounds import CASES, Result, Run, plan, remaining


def ended(run: Run, *, commit: str = "a", soak: int = 7, outcome: int = 0) -> Result:
    return Result(commit, soak, run.round, run.case, run.seed, outcome, 1.0, "2026-01-01T00:00:00+00:00")


def test_every_case_exists() -> None:
    assert [case for case in CASES if not (project_root() / case).exists()] == []


def test_a_seed_gives_the_same_runs_and_more_rounds_only_add_to_them() -> None:
    once = list(plan(7, 2))
    assert once == list(plan(7, 3))[: len(once)]
    assert len({run.seed for run in once}) == len(once) == 2 * len(CASES)
    assert {run.seed for run in plan(8, 2)}.isdisjoint(run.seed for run in once)


def test_what_has_ended_on_this_commit_with_this_seed_is_not_run_again() -> None:
    runs = list(plan(7, 1))
    first, second, *rest = runs
    results = [ended(first), ended(second, outcome=1)]
    assert remaining(runs, results, "a", 7) == rest
    assert remaining(runs, results, "b", 7) == runs
    assert remaining(runs, [replace(result, soak=8) for result in results], "a", 7) == runs
