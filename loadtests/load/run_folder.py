"""What a run leaves behind: one folder with how it was made, what was measured, every order, and the report.

run.json         how it was made: what `RunFacts` says
orders-*.jsonl   one line per order, by each generator process
samples-*.json   latencies and the generator's own state, by each process
locust.json      Locust's own statistics
found.json       what the audit, the books and the machine were afterwards
report.html, report.json   only of a run that may be believed

`python -m loadtests verdict FOLDER` judges it again.
"""

from pathlib import Path
from typing import Final

import msgspec

from loadtests.load.arrivals import Traffic
from loadtests.load.shapes import SHAPES, Shape

RUN_FILE: Final = "run.json"
LOCUST_FILE: Final = "locust.json"


class RunFacts(msgspec.Struct, frozen=True):
    run: str
    """Begins the client order id of every order of the run."""
    opened_at_s: float
    """When the gate opened, in seconds since 1970."""
    shape: str
    lasting_s: float
    base_per_s: float
    seed: int
    meme: str
    customers: dict[str, int]
    router_url: str
    accounts: str
    admission_rate: float = 0.0
    """Orders a second that each cell is to get; 0: not capped, or not said."""

    def traffic(self) -> Traffic:
        return Traffic(shape_of(self.shape, self.seed, self.lasting_s), self.base_per_s, self.customers, self.seed)


def shape_of(name: str, seed: int, lasting_s: float | None) -> Shape:
    shape = SHAPES[name](seed)
    return shape if not lasting_s else shape.lasting(lasting_s)


def write_facts(folder: Path, facts: RunFacts) -> None:
    (folder / RUN_FILE).write_bytes(msgspec.json.encode(facts))


def read_facts(folder: Path) -> RunFacts:
    return msgspec.json.decode((folder / RUN_FILE).read_bytes(), type=RunFacts)
