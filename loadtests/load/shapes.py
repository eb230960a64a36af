"""How a morning's traffic rises and falls, as data: phases in which a factor and a heat go along straight lines.

The factor multiplies the base rate. The heat (0 to 1) says how much of the talk is about one symbol: it draws orders
to the meme and changes who acts (`customer_classes`). Pure; what is random in a shape comes from its seed.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

OPEN_FACTOR: Final = 3.25
"""A quarter of a day of 6.5 hours in its first 30 minutes."""
BURST_FACTORS: Final = (3.0, 5.0)
"""Bursts inside the open, as multiples of it."""
SPIKE_FACTOR: Final = 7.0
"""What a meme's morning is here: as many times the base rate."""
CALM, RISE, PLATEAU, DECAY, AFTER = "calm", "rise", "plateau", "decay", "after"
"""Phases of a spike, by which it is judged (`spike_numbers`)."""


@dataclass(frozen=True, slots=True)
class Phase:
    """`factor` and `heat` at its begin and at its end."""

    name: str
    seconds: float
    factor: tuple[float, float]
    heat: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    phases: tuple[Phase, ...]

    @property
    def duration_s(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    def factor_at(self, t_s: float) -> float:
        return self.at(t_s)[0]

    @property
    def factor_max(self) -> float:
        return max(max(phase.factor) for phase in self.phases)

    @property
    def factor_min(self) -> float:
        return min(min(phase.factor) for phase in self.phases)

    def at(self, t_s: float) -> tuple[float, float]:
        """(factor, heat) at that time; (0, 0) before the begin and after the end."""
        begin_s = 0.0
        for phase in self.phases:
            if begin_s <= t_s < begin_s + phase.seconds:
                share = (t_s - begin_s) / phase.seconds
                return (_between(phase.factor, share), _between(phase.heat, share))
            begin_s += phase.seconds
        return (0.0, 0.0)

    def spans(self) -> tuple[tuple[str, float, float], ...]:
        """(name, begin, end) of each phase, seconds from the begin of the run."""
        found = []
        begin_s = 0.0
        for phase in self.phases:
            found.append((phase.name, begin_s, begin_s + phase.seconds))
            begin_s += phase.seconds
        return tuple(found)

    def lasting(self, seconds: float) -> "Shape":
        """The same, all phases longer or shorter in proportion."""
        stretch = seconds / self.duration_s
        phases = (Phase(each.name, each.seconds * stretch, each.factor, each.heat) for each in self.phases)
        return Shape(self.name, tuple(phases))


def steady_day(seed: int) -> Shape:
    """A usual day in five minutes: livelier in the morning and before the close. Nothing in it is random."""
    return Shape(
        "steady-day",
        (
            Phase("morning", 90, (1.5, 1.0)),
            Phase("midday", 120, (0.8, 0.8)),
            Phase("afternoon", 90, (0.8, 1.6)),
        ),
    )


def market_open(seed: int) -> Shape:
    """The open in six minutes: waiting, a quarter of the day in a few minutes with bursts inside it, and calm."""
    chance = random.Random(f"market-open:{seed}")
    phases = [Phase("before the open", 45, (1.0, 1.0)), Phase("the bell", 5, (1.0, OPEN_FACTOR), (0.0, 0.2))]
    for number in range(1, 7):
        lull_s = chance.uniform(15, 25)
        burst = OPEN_FACTOR * chance.uniform(*BURST_FACTORS)
        phases.append(Phase(f"open {number}", lull_s, (OPEN_FACTOR, OPEN_FACTOR), (0.2, 0.2)))
        phases.append(Phase(f"burst {number}", 10, (burst, burst), (0.2, 0.2)))
    phases += [Phase("settling", 45, (OPEN_FACTOR, 1.0), (0.2, 0.0)), Phase("after", 45, (1.0, 1.0))]
    return Shape("market-open", tuple(phases))


def meme_spike(seed: int) -> Shape:
    """One symbol, seven times the traffic within a minute, two minutes of it, a minute down. Nothing is random."""
    return Shape(
        "meme-spike",
        (
            Phase(CALM, 60, (1.0, 1.0)),
            Phase(RISE, 60, (1.0, SPIKE_FACTOR), (0.0, 1.0)),
            Phase(PLATEAU, 120, (SPIKE_FACTOR, SPIKE_FACTOR), (1.0, 1.0)),
            Phase(DECAY, 60, (SPIKE_FACTOR, 1.0), (1.0, 0.1)),
            Phase(AFTER, 60, (1.0, 1.0), (0.1, 0.0)),
        ),
    )


SHAPES: Final[dict[str, Callable[[int], Shape]]] = {
    "steady-day": steady_day,
    "market-open": market_open,
    "meme-spike": meme_spike,
}


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
