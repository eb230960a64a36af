"""A difference is told from noise by what two equal runs differ by."""

from pathlib import Path

import pytest

from loadtests.benchmarks.beside import Run, compare, flat, run_once
from loadtests.measurement.refusal import MeasurementRefused


def round_of(here: float, other: float, again: float) -> dict[str, dict[str, float]]:
    return {"here": {"per_s": here}, "other": {"per_s": other}, "here_again": {"per_s": again}}


def test_a_difference_inside_the_range_of_equal_runs_is_noise() -> None:
    compared = compare([round_of(100, 104, 110), round_of(108, 103, 100), round_of(100, 106, 104)])["per_s"]
    assert compared["aa_range"] == [0.909, 1.1]
    assert compared["ratio"] == pytest.approx(1.01, abs=0.005)
    assert compared["inside_aa_range"]


def test_a_loss_beyond_it_is_none() -> None:
    compared = compare([round_of(80, 100, 81), round_of(80, 101, 80), round_of(82, 99, 80)])["per_s"]
    assert compared["ratio"] == pytest.approx(0.805, abs=0.02)
    assert not compared["inside_aa_range"]


def test_figures_without_a_ratio_and_figures_of_one_side_are_left_out() -> None:
    rounds = [round_of(1, 1, 1) for _ in range(3)]
    rounds[0]["here"]["new"] = 1.0
    for each in rounds:
        each["other"]["added_ms"] = each["here"]["added_ms"] = each["here_again"]["added_ms"] = 0.0
    assert set(compare(rounds)) == {"per_s"}


def test_a_folder_without_an_environment_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MeasurementRefused, match="make install"):
        run_once("fills", Run("other", tmp_path))


def test_figures_of_several_peers_are_named_after_them() -> None:
    assert flat({"router": {"p50_ms": 1, "half": {"p99_ms": 2}}, "ratio": 0.5}) == {
        "router.p50_ms": 1.0,
        "router.half.p99_ms": 2.0,
        "ratio": 0.5,
    }
