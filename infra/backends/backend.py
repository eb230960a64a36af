"""What a back end does, as small protocols, and what they speak in. `Backend` is all of them together.

A function asks for the smallest protocol that does; a back end inherits from `Backend`, so that mypy names what it
lacks. Every operation may be repeated and may follow a crash at any moment: it brings the stack to what is asked and
does nothing where that is already so. What cannot be done raises BackendError.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from infra.backends.addresses import Addresses
from infra.backends.cell_spec import Job, ProcessSpec, ProcessStatus, StackSpec
from infra.backends.finding import Finding
from infra.backends.preview import ProcessChange


class BackendError(Exception):
    """The backend could not do what was asked; the text says what stood in the way and what to do."""


class Overtaken(BackendError):
    """The stack has met a higher lease's number than the caller's: who leads is somebody else now."""


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

Redirect = Callable[[Addresses], Awaitable[None]]
"""Lead customers' requests by these addresses; returns when every router that runs does. Raises BackendError."""


def quiet(_: Step) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True, slots=True)
class JobResult:
    exit_code: int
    output: str
    """Standard output and standard error, as they came."""


class StackLife(Protocol):
    """A stack as a whole: what was asked for, whether it is there, made and removed."""

    @property
    def stack(self) -> str:
        """Its name."""

    @property
    def location(self) -> str:
        """Where its data lies, for people: a folder, a namespace."""

    def exists(self) -> bool:
        """Was it made, and not destroyed since? It may be stopped."""

    def spec(self) -> StackSpec:
        """What `create` was asked for last. Raises BackendError if there is no stack."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """One command at a time changes a stack; a second one waits. Freed when its holder dies."""

    def fenced(self, lease: int | None) -> AbstractAsyncContextManager[None]:
        """`lock`, for a step of an operation, held by who leads under that number: the stack remembers the highest it
        met. Waits without holding up the event loop: operations wait for each other in one. Raises Overtaken for a
        lower number; BackendError if the lock is not free within a minute. None: no fence."""

    async def create(self, spec: StackSpec) -> None:
        """Remember `spec`; make what it needs before anything starts: addresses, secrets, data directories.

        Starts nothing that stays. An existing cell keeps its data, a new one gets its own. Ends what a crash left
        running and nobody looks after.
        """

    async def destroy(self) -> None:
        """Stop, then remove everything that the stack owns, data included."""


class Processes(Protocol):
    """The life of single processes, by name."""

    async def plan(self) -> tuple[ProcessSpec, ...]:
        """Every process that the spec asks for, servers first; `infra.backends.plan` makes those of ours."""

    async def start(self, names: Sequence[str]) -> None:
        """Start these, as they are planned now, and leave running ones alone; returns before they are ready."""

    async def await_ready(self, names: Sequence[str], timeout_s: float) -> None:
        """Return when each answers as ready; raises BackendError that names those that do not."""

    async def stop_processes(self, names: Sequence[str]) -> None:
        """Stop these, in the order of `infra.backends.plan.STOP_ORDER`. `start` starts them again."""

    async def stop(self) -> None:
        """Stop every process in order (`infra.backends.plan.STOP_ORDER`); data stays."""


async def process_names(processes: Processes, wanted: Callable[[ProcessSpec], bool]) -> tuple[str, ...]:
    return tuple(process.name for process in await processes.plan() if wanted(process))


READY_TIMEOUT_S: Final = 60.0
"""One process of ours starts in seconds; those of a large stack start at once and share the cores."""


async def start_until_ready(processes: Processes, wanted: Callable[[ProcessSpec], bool]) -> None:
    """Raises BackendError that names what is not ready in time."""
    names = await process_names(processes, wanted)
    await processes.start(names)
    await processes.await_ready(names, READY_TIMEOUT_S)


class Renewing(Protocol):
    """Processes begin anew while customers are served. A running process gets other settings in no other way."""

    async def outdated(self) -> tuple[str, ...]:
        """Those that run otherwise than planned, in the order in which to renew them
        (`infra.backends.plan.RENEWAL_ORDER`)."""

    async def renew(self, name: str, timeout_s: float, redirect: Redirect) -> None:
        """Let a new instance of this running process take over, without a lost request.

        `timeout_s` is for each wait until something is ready. If the new instance does not become ready, the old one
        serves on, where two can run at once. Raises BackendError that names the process and says who serves now.
        """

    async def finish_renewal(self, timeout_s: float, redirect: Redirect) -> None:
        """End what a killed command began and did not end; its process must have been started. Raises as `renew`."""


class Observation(Protocol):
    """What runs, and what it says of itself. Changes nothing."""

    async def preview(self, spec: StackSpec) -> tuple[ProcessChange, ...]:
        """What creating this spec, starting its processes and renewing the outdated would do to each; the stack may
        not exist yet. Not even a lock or a folder is made, so another command may change the stack meanwhile. A back
        end that cannot tell keeps this one, which raises BackendError."""
        raise BackendError("this back end does not tell what `up` would do: `Observation.preview` is its to write")

    async def is_running(self) -> bool:
        """Is anybody there who starts and restarts this stack's processes? They may be in any state."""

    async def status(self) -> tuple[ProcessStatus, ...]:
        """Every process of the stack, running or not."""

    async def given_settings(self, name: str) -> Mapping[str, str] | None:
        """Those of our settings that a running process was started with, also what it has from the shell that started
        the stack; None if it does not run, or cannot be read."""

    async def is_ready(self, process: ProcessSpec) -> bool:
        """Ask the process itself."""

    async def readiness_facts(self, process: ProcessSpec) -> Mapping[str, Any]:
        """What a process of ours answers to `/health/ready`, ready or not; empty if it does not answer."""


class Servers(Protocol):
    """Servers that others wrote, and what must be in them before our processes start."""

    def external_servers(self) -> Mapping[str, str]:
        """Servers that somebody else runs and a new stack shall use: `REDIS_URL`, `KAFKA_BOOTSTRAP_SERVERS`,
        `KAFKA_TOPIC_PREFIX`; empty where the back end brings its own."""

    async def reconcile_roles(self, server: str) -> None:
        """Make the roles of a running database what `infra.backends.roles` says: those that are missing too."""

    async def ensure_topics(self) -> tuple[str, ...]:
        """Make the topics of `infra.backends.topics` that are missing; returns those that were made."""


class AddressBook(Protocol):
    @property
    def control_socket(self) -> Path:
        """The Unix socket by which commands on this machine reach the stack's control service."""

    def addresses(self) -> Addresses:
        """Where the parts of the stack are reached from here. Raises BackendError if there is no stack."""


class Secrets(Protocol):
    @property
    def keys_folder(self) -> Path:
        """The signing keys, as files on this machine: the originals, or a private copy of them."""

    async def publish_keys(self) -> None:
        """Take what changed in `keys_folder` to where processes read it. They do so within a second. What one cell
        signs with (`plan.own_keys`) goes to that cell's app servers and worker, and to nobody else."""

    def reader_dsn(self, server: str) -> str:
        """For people: the DSN of the role that reads everything and changes nothing, with its password."""


class Logs(Protocol):
    def known_logs(self) -> list[tuple[str, int]]:
        """Name and size in bytes of every log."""

    def last_lines(self, name: str, count: int) -> list[str]:
        """At most `count`, oldest first. Raises BackendError for an unknown log."""

    def follow_log(self, name: str) -> Iterator[str]:
        """Lines as they are added; never ends. Raises BackendError for an unknown log."""


class Jobs(Protocol):
    async def run_job(self, job: Job) -> JobResult:
        """Run a command of a service's image to its end (`infra.backends.plan.job_command`)."""


class Examination(Protocol):
    def examine(self) -> AsyncIterator[Finding]:
        """What `shardctl doctor` shows of the machine and of what is the back end's own; of a stack that does not run,
        why, as the last finding. Changes nothing and downloads nothing."""


class Backend(
    StackLife,
    Processes,
    Renewing,
    Observation,
    Servers,
    AddressBook,
    Secrets,
    Logs,
    Jobs,
    Examination,
    Protocol,
):
    """All of a back end. `infra.backends.catalog` finds one by its name."""
