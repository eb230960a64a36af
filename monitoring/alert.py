"""An alert as a value: its query, how long it must hold, whom it wakes, and the two stories that prove it.

`fires` and `quiet` are series in promtool's notation, a sample every 30 s for a quarter of an hour: `1x30` is a
constant, `0+5x30` grows by five a sample. An alert without both stories cannot be written down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from monitoring.tables import check_names

STORY_STEP_S: Final = 30
"""Between two samples of a story: two scrapes."""
STORY_SAMPLES: Final = 30
"""A quarter of an hour, longer than any alert waits before it fires."""


class Severity(StrEnum):
    PAGE = "page"
    """Customers or their money are affected now: wake somebody."""
    TICKET = "ticket"
    """To be dealt with in the working day."""


Series = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Alert:
    """`name` is also the runbook's heading. `labels` are those that the alert of `fires` carries."""

    name: str
    query: str
    for_s: int
    severity: Severity
    summary: str
    """One line; `{{ $labels.cell }}` and the like are filled in."""
    fires: Series
    labels: Mapping[str, str]
    quiet: tuple[Series, ...]

    def __post_init__(self) -> None:
        check_names(self.name, self.query)
        assert self.fires, self.name
        assert self.quiet, self.name

    def filled_summary(self) -> str:
        """The summary as it reads when `fires` has happened."""
        text = self.summary
        for name, value in self.labels.items():
            text = text.replace("{{ $labels." + name + " }}", value)
        return text

    @property
    def runbook(self) -> str:
        return f"monitoring/RUNBOOK.md#{self.name.lower()}"


def worker(metric: str, value: str, *, active: str = "1x30", cell: str = "cell-1", number: int = 1) -> dict[str, str]:
    """A worker's gauge beside the one that says whether it leads."""
    labels = f'cell="{cell}",instance="{cell}-worker:{number}",job="worker"'
    return {f"{metric}{{{labels}}}": value, f"cell_worker_active{{{labels}}}": active}
