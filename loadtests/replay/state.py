"""What a replay knows while it runs: what was asked, who plays, what was seen so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.client import Customer
from loadtests.replay.reconcile import CellSums, Funding
from loadtests.replay.tape_plan import CustomerPlan, TapePlan

AT_ONCE = 48  # requests of all players
Progress = Callable[[str, int, int], None]


class ReplayRefused(Exception):
    """The replay cannot begin; says why."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    messages: Path
    symbol: str
    run: str
    customers: int
    speed: float | None  # times the tape's own; None: as fast as the answers come


@dataclass(slots=True)
class Player:
    customer: Customer
    plan: CustomerPlan
    funding: Funding
    order_ids: dict[int, str] = field(default_factory=dict)  # tape id -> order id, the last one of its replacements
    open_tape_ids: set[int] = field(default_factory=set)


@dataclass(slots=True)
class ReplayReport:
    request: ReplayRequest
    router_url: str
    plan: TapePlan
    tape_loaded_now: bool = False
    placed: int = 0
    cancels: int = 0
    replaces: int = 0
    playing_s: float = 0.0
    settling_s: float = 0.0
    place_ms: list[float] = field(default_factory=list)
    cells: dict[str, CellSums] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    fills: int = 0
    filled: int = 0
    cost_micros: int = 0
    notes: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
