"""Percentiles of one round and medians over rounds."""

from statistics import median


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile; 0.0 when nothing was measured."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(share * 10_000) // 10_000))
    return ordered[rank - 1]


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of every figure over the rounds."""
    return {name: round(median(each[name] for each in rounds), 4) for name in rounds[0]}
