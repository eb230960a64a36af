"""The noisy neighbour benchmark: how its ratios are made, and what passes its bar."""

from typing import Any

from loadtests.benchmarks.noisy_neighbour import TURNS, summary

FIGURES = ("order_p50_ms", "order_p99_ms", "read_p50_ms", "read_p99_ms")


def round_of(quiet_ms: float, beside_ms: float, failed: int = 0) -> dict[str, dict[str, Any]]:
    return {
        name: {**dict.fromkeys(FIGURES, quiet_ms if name in ("quiet", "again") else beside_ms), "failed": failed}
        for name in TURNS
    }


def test_ratios_are_medians_of_ratios_within_a_round() -> None:
    found = summary([round_of(1, 2), round_of(10, 11), round_of(100, 400)])
    assert (found["quiet"]["order_p99_ms"], found["previews"]["order_p99_ms"]) == (10, 11)
    assert (found["previews"]["order_p99_ratio"], found["again"]["order_p99_ratio"]) == (2, 1)


def test_the_bar_is_three_times_quiet_and_no_failure() -> None:
    assert all(summary([round_of(1, 3)])[name]["passed"] for name in TURNS if name != "quiet")
    assert not summary([round_of(1, 3.1)])["slow"]["passed"]
    assert not summary([round_of(1, 1), round_of(1, 1, failed=1)])["orders"]["passed"]
