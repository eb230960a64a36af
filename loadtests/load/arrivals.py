"""When each customer is due to act: the rate gate. Pure and seeded, so a run can be had again.

All customers are there from the start, and idle: a spike opens the gate for them instead of spawning others, which
would put sign-ups and handshakes where orders should be. Each customer's due times are a Poisson process of their own
(by thinning), so together they are one with the class's whole rate, however customers are spread over processes. What
is due does not depend on what was answered: the loop is open. Bots act at a pace of their own, whatever happens.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loadtests.load.customer_classes import BY_NAME, CLASSES, CustomerClass
from loadtests.load.shapes import Shape


class RateTooLow(Exception):
    """The base rate leaves nothing beside what the bots do."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """All customers of a run: their numbers by class, and requests per second of all together at factor 1."""

    shape: Shape
    base_per_s: float
    customers: dict[str, int]
    seed: int

    def __post_init__(self) -> None:
        """Raises RateTooLow."""
        if self._people_per_s(self.shape.factor_min) < self.base_per_s * self.shape.factor_min / 2:
            raise RateTooLow(
                f"bots alone send {self.paced_per_s:.1f} requests a second, more than half of the {self.base_per_s:g} "
                "of the base rate: raise --base-rate, or make fewer accounts"
            )

    @property
    def paced_per_s(self) -> float:
        """Of those who keep a pace of their own."""
        return sum((each.paced_per_s or 0.0) * self.customers.get(each.name, 0) for each in CLASSES)

    def due_times(self, whose: CustomerClass, number: int) -> Iterator[float]:
        """Seconds from the opening of the gate, rising, of the class's customer with that number."""
        chance = random.Random(f"due:{self.seed}:{whose.name}:{number}")
        if whose.paced_per_s is not None:
            return paced(chance, whose.paced_per_s, self.shape.duration_s)
        members = self.customers[whose.name]

        def rate_at(t_s: float) -> float:
            factor, heat = self.shape.at(t_s)
            return self._people_per_s(factor) * self._share(whose, heat) / members

        most = self._people_per_s(self.shape.factor_max) * max(self._share(whose, 0.0), self._share(whose, 1.0))
        return thinned(chance, rate_at, most / members, self.shape.duration_s)

    def due_in_all(self) -> int:
        """How many requests the whole run wants."""
        return sum(
            sum(1 for _ in self.due_times(BY_NAME[name], number))
            for name, members in self.customers.items()
            for number in range(members)
        )

    def _people_per_s(self, factor: float) -> float:
        return self.base_per_s * factor - self.paced_per_s

    def _share(self, whose: CustomerClass, heat: float) -> float:
        """Of what people do, among the classes that are there."""
        there = [each for each in CLASSES if each.paced_per_s is None and self.customers.get(each.name)]
        return whose.activity(heat) / sum(each.activity(heat) for each in there)


def thinned(
    chance: random.Random, rate_at: Callable[[float], float], rate_max: float, duration_s: float
) -> Iterator[float]:
    """A Poisson process whose rate changes (Lewis and Shedler): one of the highest rate, of which a share is kept."""
    t_s = chance.expovariate(rate_max)
    while t_s < duration_s:
        if chance.random() * rate_max < rate_at(t_s):
            yield t_s
        t_s += chance.expovariate(rate_max)


def paced(chance: random.Random, per_s: float, duration_s: float) -> Iterator[float]:
    """Evenly, from a random moment of the first interval on."""
    t_s = chance.random() / per_s
    while t_s < duration_s:
        yield t_s
        t_s += 1.0 / per_s
