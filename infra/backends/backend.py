"""The protocol that every backend fulfils: local processes now, Docker Compose and Kubernetes later.

Every operation may be repeated: it brings the stack to what is asked and does nothing where that is already so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from infra.backends.cell_spec import ProcessStatus, StackSpec


class BackendError(Exception):
    """The backend could not do what was asked; the text says what stood in the way and what to do."""


class Phase(StrEnum):
    PREPARE = "prepare"
    START = "start"
    READY = "ready"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of one long operation: `subject` (a process, a package of jars) reached `phase`, or failed."""

    subject: str
    phase: Phase
    detail: str = ""


Report = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class JobResult:
    exit_code: int
    output: str


class Backend(Protocol):
    async def create(self, spec: StackSpec) -> None:
        """Folders, ports, secrets, data directories. Starts nothing that stays."""

    async def start(self, names: Sequence[str]) -> None:
        """Start these processes and leave running ones alone; returns before they are ready."""

    async def await_ready(self, names: Sequence[str], timeout_s: float) -> None:
        """Return when each answers as ready; raises BackendError that names those that do not."""

    async def stop(self) -> None:
        """Stop every process in order; data stays."""

    async def destroy(self) -> None:
        """Stop, then remove everything that the stack owns, data included."""

    async def run_job(self, command: Sequence[str], environment: Mapping[str, str]) -> JobResult:
        """Run a command of a service's image to its end."""

    async def status(self) -> tuple[ProcessStatus, ...]:
        """Every process of the stack, running or not."""
