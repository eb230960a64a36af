"""What a stack consists of, as plain values: cells, processes, ports.

Nothing here touches the machine. A backend turns a `StackSpec` into processes; `shardctl` turns options into a
`StackSpec`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from infra.topology.identifiers import CELL_ID_CHARACTERS_MAX

_CELL_NAME = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
CELLS_MAX = 50
"""More than one machine carries; a fleet on other machines is another back end's."""
APIS_MAX = 16
"""App servers of a cell; one fills a core, and their pools together stay inside the server's connections."""
ROUTERS_MAX = 8
"""One fills a core."""
ADMISSION_RATE_MAX = 1_000_000.0  # far beyond any cell; infinity is no rate
CLOCK_OFFSET_S_MAX = 3 * 366 * 86_400  # as far as a cell's calendar looks ahead
RISK_PROFILES = ("retail", "professional")
MARKET_HOURS = ("always", "XNYS")
SHARE_TRANSFERS = ("accept", "approve")
OIDC_NAMES = frozenset(
    {"ISSUER", "AUDIENCE", "ROLES", "ROLE_CLAIM", "LEEWAY_S", "LISTEN__HOST", "LISTEN__PORT", "TLS_CERT", "TLS_KEY"}
)
"""Of the control service's settings for persons elsewhere. None is a secret: certificate and key are paths of files."""


class SpecInvalid(Exception):
    """No stack can be like this; says which part and why."""


class ProcessKind(StrEnum):
    POSTGRES = "postgres"
    REDIS = "redis"
    KAFKA = "kafka"
    EXCHANGE = "exchange"
    ROUTER = "router"
    API = "api"
    WORKER = "worker"
    RELAY = "relay"
    CONTROL = "control"
    ARCHIVE = "archive"
    PROMETHEUS = "prometheus"
    SUPERVISOR = "supervisor"


SERVER_KINDS = frozenset({ProcessKind.POSTGRES, ProcessKind.REDIS, ProcessKind.KAFKA})
"""Servers that others wrote and ours need. Everything else in a stack is ours and has an operator port, but for
Prometheus, which watches, and the archives of the databases' log: nobody waits for them."""

OUR_KINDS = frozenset(ProcessKind) - SERVER_KINDS - {ProcessKind.SUPERVISOR}


class Profile(StrEnum):
    """Which settings a new stack takes for what was not said, and whether its clock may be shifted."""

    LOCAL = "local"
    """A demo works on a Sunday; one address may play all customers."""
    PRODUCTION = "production"
    REHEARSAL = "rehearsal"
    """Production's settings to the last, on a clock that may be shifted."""


@dataclass(frozen=True, slots=True)
class CellSpec:
    name: str
    apis: int = 1

    def __post_init__(self) -> None:
        """Raises SpecInvalid."""
        if not _CELL_NAME.match(self.name) or len(self.name) > CELL_ID_CHARACTERS_MAX:
            raise SpecInvalid(
                f"{self.name!r} is not a cell name: lower case letters, digits and single dashes, "
                f"at most {CELL_ID_CHARACTERS_MAX}"
            )
        if not 1 <= self.apis <= APIS_MAX:
            raise SpecInvalid(f"{self.name}: {self.apis} apis, 1 to {APIS_MAX} are possible")


@dataclass(frozen=True, slots=True)
class StackSpec:
    """What somebody wants to run."""

    cells: tuple[CellSpec, ...]
    routers: int = 1
    profile: Profile = Profile.LOCAL
    risk_profile: str = "retail"
    market_hours: str = "always"
    share_transfers: str = "accept"
    reference_price_age_max_s: int = 60
    """As the cell's own setting."""
    exchange_seed: int = 1
    """The same seed and orders, the same executions."""
    redis_url: str | None = None
    """A Redis that somebody else runs; none is started then."""
    kafka_bootstrap_servers: str | None = None
    """A broker that somebody else runs; none is started then."""
    topic_prefix: str = ""
    admission_rate: float = 0.0
    """Orders a second that the routers together let into each cell; 0: as many as come."""
    clock_offset_s: float = 0.0
    """Seconds by which all processes' clocks are ahead of the machine's."""
    incarnations: Mapping[str, str] = field(default_factory=dict)
    """By cell, which restore made the database that belongs there. Outside of it, so that a wrong copy is noticed."""
    monitoring: bool = False
    """A Prometheus that watches the stack, where the machine has one."""
    approvals: tuple[str, ...] = ()
    """Kinds of operations that a second person must approve."""
    oidc: Mapping[str, str] = field(default_factory=dict)
    """Whom the organisation's issuer knows, and where they ask, by the names of `OIDC_NAMES`; empty: nobody."""

    def __post_init__(self) -> None:
        """Raises SpecInvalid.

        Whatever makes or reads a specification comes through here, `stack.json` of another release included. So the
        limits hold for what is stored as for what is asked for, and no back end checks them again.
        """
        names = [cell.name for cell in self.cells]
        if not 1 <= len(names) <= CELLS_MAX:
            raise SpecInvalid(f"{len(names)} cells, 1 to {CELLS_MAX} are possible")
        if len(set(names)) != len(names):
            raise SpecInvalid("two cells have the same name")
        if not 1 <= self.routers <= ROUTERS_MAX:
            raise SpecInvalid(f"{self.routers} routers, 1 to {ROUTERS_MAX} are possible")
        if self.risk_profile not in RISK_PROFILES:
            raise SpecInvalid(f"risk profile {self.risk_profile!r}: retail or professional")
        if self.market_hours not in MARKET_HOURS:
            raise SpecInvalid(f"market hours {self.market_hours!r}: always or XNYS")
        if self.share_transfers not in SHARE_TRANSFERS:
            raise SpecInvalid(f"share transfers {self.share_transfers!r}: accept or approve")
        if unknown := sorted(set(self.oidc) - OIDC_NAMES):
            raise SpecInvalid(f"no setting of persons elsewhere: {', '.join(unknown)}")
        if not 0 <= self.admission_rate <= ADMISSION_RATE_MAX:
            raise SpecInvalid(f"admission rate {self.admission_rate:g}: 0 (no cap) to {ADMISSION_RATE_MAX:g} a second")
        if not abs(self.clock_offset_s) <= CLOCK_OFFSET_S_MAX:
            raise SpecInvalid(f"the clock may be shifted by at most {CLOCK_OFFSET_S_MAX} s, not {self.clock_offset_s}")
        if self.clock_offset_s and self.profile is Profile.PRODUCTION:
            raise SpecInvalid("the clock of a production stack is never shifted; a rehearsal has production's settings")

    def with_cell(self, cell: CellSpec) -> "StackSpec":
        return replace(self, cells=(*self.cells, cell))


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One supervised process: what to run, as whom, and how to tell that it works."""

    name: str
    kind: ProcessKind
    command: tuple[str, ...]
    cell: str | None = None
    port: int | None = None
    """Where it serves: customers, SQL, Redis, Kafka, the exchange's wire."""
    operator_port: int | None = None
    """Health and metrics; absent for servers that others wrote."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """Operating system user, if it is not the one who runs the stack."""
    stop_signal: str = "TERM"
    stop_wait_s: int = 15
    """Seconds between the stop signal and the kill: longer than any process drains."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process as the supervisor and the operating system see it."""

    name: str
    kind: ProcessKind
    cell: str | None
    state: str
    pid: int | None
    port: int | None
    operator_port: int | None
    uptime_s: float | None
    rss_bytes: int | None
    """Memory of the process and its children; pages that they share are counted once where the system can tell."""
    detail: str = ""


def router_names(spec: StackSpec) -> tuple[str, ...]:
    return tuple(f"router-{number}" for number in range(1, spec.routers + 1))


def api_names(cell: CellSpec) -> tuple[str, ...]:
    return tuple(f"{cell.name}-api-{number}" for number in range(1, cell.apis + 1))


def postgres_name(cell: str) -> str:
    return f"{cell}-postgres"


def next_cell_name(taken: frozenset[str]) -> str:
    """The first free name of the row cell-1, cell-2, ..."""
    return next(name for number in range(1, CELLS_MAX + 2) if (name := f"cell-{number}") not in taken)


@dataclass(frozen=True, slots=True)
class Job:
    """A command of a service's image that runs to its end: `python -m PACKAGE ARGUMENTS`.

    A job of a cell gets the settings of that cell's processes, and its owner's DSN besides.
    """

    package: str
    arguments: tuple[str, ...]
    cell: str | None = None
