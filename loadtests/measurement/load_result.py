"""What a load brought: every status, every latency, and the first answer that was not the wanted one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.measurement.refusal import MeasurementRefused
from loadtests.quantiles import percentile

# connection number, request number on this connection -> the bytes to send
RequestOf = Callable[[int, int], bytes]


@dataclass(slots=True)
class LoadResult:
    """Grows while the load runs. `latencies_s` holds those of all answers, whatever their status."""

    elapsed_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    first_bad: str | None = None

    def per_second(self, status: int) -> float:
        return self.statuses[status] / self.elapsed_s if self.elapsed_s else 0.0


def checked(result: LoadResult, wanted: int) -> LoadResult:
    """The result, if every answer was the wanted one. Raises MeasurementRefused."""
    if set(result.statuses) != {wanted}:
        raise MeasurementRefused(f"answers other than {wanted}: {dict(result.statuses)}; the first: {result.first_bad}")
    return result


def latency_figures(name: str, result: LoadResult, wanted: int = 201) -> dict[str, float]:
    """Wanted answers per second, p50 and p99 in milliseconds, as figures of a round named `name`_..."""
    return {
        f"{name}_per_s": round(result.per_second(wanted), 1),
        f"{name}_p50_ms": round(percentile(result.latencies_s, 0.50) * 1000, 3),
        f"{name}_p99_ms": round(percentile(result.latencies_s, 0.99) * 1000, 3),
    }
