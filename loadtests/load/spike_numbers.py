"""What a spike must not change: how fast an accepted order is, how fast everybody else knows, how much gets through,
and how soon it is over. Pure; only for a shape that has a calm, a plateau and a decay.

- accepted orders in the plateau: p99 at most three times that of the calm before;
- everybody else: 503 with `Retry-After` in less than 100 ms, and no other failure at all, in the whole run;
- what each cell acknowledged in the plateau: at least 0.9 of its stated rate (of what was offered, where that is less);
- after the decay: orders as fast as before within ten seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadtests.load.measured import Figures, Measured, every, is_order, of_cell
from loadtests.load.outcomes import Outcome
from loadtests.load.rule import Rule
from loadtests.load.shapes import AFTER, CALM, DECAY, PLATEAU

P99_RATIO_MAX: Final = 3.0
"""Of accepted orders: who is let in hardly notices who is not."""
REFUSED_P99_MS_MAX: Final = 100.0
"""Of answers that refuse: who is shed knows at once."""
GOODPUT_SHARE_MIN: Final = 0.9
"""Of a cell's stated rate, or of what was offered if that is less: shedding must not cost what could be served."""
RECOVERED_S_MAX: Final = 10.0
"""From the end of the decay: queues must not outlive what filled them."""
RECOVERED_RATIO: Final = 1.5
"""As fast as before: p95 of all orders from then on at most this many times the calm's. Two calm phases of some hundred
orders each differ by as much; their p99 is the third slowest order of the phase and differs by more."""
FEW: Final = 20
"""Orders. Fewer have no percentile."""


@dataclass(frozen=True, slots=True)
class _Spike:
    calm: Figures
    plateau: Figures
    plateau_s: float
    decay_ends_s: float
    ends_s: float


def spike_rules(measured: Measured, admission_rate: float) -> list[Rule]:
    """`admission_rate`: orders a second that each cell is to get; 0: not capped. Nothing for another shape."""
    if {CALM, PLATEAU, DECAY, AFTER} - {name for name, _, _ in measured.spans}:
        return []
    spike = _of(measured)
    return [
        _accepted(spike),
        *_everybody_else(measured),
        *_goodput(measured, admission_rate),
        _recovered(measured, spike),
    ]


def _of(measured: Measured) -> _Spike:
    phases = {name: (seconds, figures) for name, seconds, figures in measured.by_phase(is_order)}
    ends = {name: end_s for name, _, end_s in measured.spans}
    seconds, plateau = phases[PLATEAU]
    return _Spike(phases[CALM][1], plateau, seconds, ends[DECAY], measured.duration_s)


def _accepted(spike: _Spike) -> Rule:
    about = "plateau: accepted orders, p99 beside the calm's"
    limit = f"<= {P99_RATIO_MAX:g} times"
    if spike.calm.done.count < FEW or spike.plateau.done.count < FEW:
        return Rule(about, f"{spike.calm.done.count} and {spike.plateau.done.count} orders: too few", limit, False)
    calm_us, plateau_us = (each.done.percentile_us(99) for each in (spike.calm, spike.plateau))
    measured = f"{plateau_us / 1000:.1f} ms, {plateau_us / calm_us:.2f} times {calm_us / 1000:.1f} ms"
    return Rule(about, measured, limit, plateau_us <= P99_RATIO_MAX * calm_us)


def _everybody_else(measured: Measured) -> Iterator[Rule]:
    figures = measured.figures()
    shed = figures.shed
    p99_ms = shed.percentile_us(99) / 1000
    yield Rule(
        f"everybody else: 503 with Retry-After, p99 of {shed.count:,}",
        f"{p99_ms:.1f} ms",
        f"< {REFUSED_P99_MS_MAX:g} ms",
        p99_ms < REFUSED_P99_MS_MAX,
    )
    others = figures.broken + figures.outcomes[Outcome.LIMITED]
    yield Rule("everybody else: any other failure", f"{others:,}", "0", others == 0)


def _goodput(measured: Measured, admission_rate: float) -> Iterator[Rule]:
    if not admission_rate:
        yield Rule("plateau: share of the cells' stated rate that got through", "no rate is stated", "", True)
        return
    for cell in measured.cells:
        phases = measured.by_phase(every(is_order, of_cell(cell)))
        seconds, figures = next((seconds, figures) for name, seconds, figures in phases if name == PLATEAU)
        offered, accepted = figures.count / seconds, figures.outcomes[Outcome.DONE] / seconds
        most = min(admission_rate, offered)
        share = accepted / most if most else 0.0
        yield Rule(
            f"plateau, {cell}: accepted orders a second, of {admission_rate:g} stated and {offered:.1f} offered",
            f"{accepted:.1f}, {share:.2f} of {'the rate' if most == admission_rate else 'what was offered'}",
            f">= {GOODPUT_SHARE_MIN:g}",
            share >= GOODPUT_SHARE_MIN,
        )


def _recovered(measured: Measured, spike: _Spike) -> Rule:
    about = f"after the decay: p95 of orders within {RECOVERED_RATIO:g} times the calm's again"
    took_s = recovered_after_s(measured, spike.calm.done.percentile_us(95), spike.decay_ends_s)
    seen_s = spike.ends_s - spike.decay_ends_s
    said = f"not within {seen_s:.0f} s" if took_s is None else f"after {took_s:.0f} s"
    if seen_s < 2 * RECOVERED_S_MAX:
        return Rule(about, f"{said}; the run is too short to judge it", "", True)
    return Rule(about, said, f"<= {RECOVERED_S_MAX:g} s", took_s is not None and took_s <= RECOVERED_S_MAX)


def recovered_after_s(measured: Measured, calm_p95_us: int, decay_ends_s: float) -> float | None:
    """From the end of the decay to the first moment from which on orders are as fast as in the calm. None: never, or
    too few orders tell. Looked for from the run's end backwards, adding one interval after the other."""
    points = measured.over_time(is_order)
    since = Figures()
    found: float | None = None
    for number in range(len(points) - 1, -1, -1):
        begins_s = number * measured.interval_s
        if begins_s < decay_ends_s:
            break
        since.done.add(points[number].done)
        if since.done.count >= FEW and since.done.percentile_us(95) <= RECOVERED_RATIO * calm_p95_us:
            found = begins_s - decay_ends_s
    return found
