"""Where the parts of a stack are reached, as plain values: whoever runs the stack fills in hosts, ports and DSNs.

No password stands in an address. A DSN names a file that has it, or the back end's own way of giving it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from infra.backends.cell_spec import CellSpec, StackSpec, api_names, router_names

CONTROL_POSTGRES: Final = "control-postgres"
REDIS: Final = "redis"
KAFKA: Final = "kafka"
EXCHANGE: Final = "exchange"
CONTROL_SERVICE: Final = "control"
PROMETHEUS: Final = "prometheus"
OPERATOR: Final = ".operator"
"""Ending of the name of an operator port: `router-1` serves customers, `router-1.operator` health and metrics."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """`endpoints` by the names of `plan.port_names`; `dsns` by server and role, without passwords."""

    spec: StackSpec
    endpoints: Mapping[str, Endpoint]
    dsns: Mapping[str, Mapping[str, str]]

    @property
    def redis_url(self) -> str:
        return self.spec.redis_url or f"redis://{self.endpoints[REDIS]}/0"

    @property
    def kafka(self) -> str:
        return self.spec.kafka_bootstrap_servers or str(self.endpoints[KAFKA])

    @property
    def exchange(self) -> str:
        return str(self.endpoints[EXCHANGE])

    @property
    def exchange_operator_url(self) -> str:
        return self._url(EXCHANGE + OPERATOR)

    @property
    def prometheus_url(self) -> str | None:
        """None: the stack was not asked to be watched."""
        return self._url(PROMETHEUS) if PROMETHEUS in self.endpoints else None

    @property
    def router_urls(self) -> tuple[str, ...]:
        return tuple(self._url(name) for name in router_names(self.spec))

    def api_urls(self, cell: CellSpec) -> tuple[str, ...]:
        return tuple(self._url(name) for name in api_names(cell))

    def operator_urls(self, cell: CellSpec) -> tuple[str, ...]:
        return tuple(self._url(name + OPERATOR) for name in api_names(cell))

    def port(self, name: str) -> int:
        return self.endpoints[name].port

    def dsn(self, server: str, role: str) -> str:
        """Raises KeyError for a server or a role that the stack does not have."""
        return self.dsns[server][role]

    def _url(self, name: str) -> str:
        return f"http://{self.endpoints[name]}"
