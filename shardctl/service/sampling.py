"""Every few seconds each process's counters of requests, errors and latency, kept in the control database by age.

Kept are counters and histograms whose rows a judge compares (`KEPT`): cumulative, as the process shows them, with its
name, its release and its start. A process that does not answer has no row: a gap is a gap, never a zero.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from infra.backends.backend import Backend
from infra.backends.cell_spec import ProcessKind, ProcessSpec
from infra.runtime.http_client import HttpClient, OutcomeUnknown, PeerUnreachable
from infra.runtime.procedures import DatabaseFailure
from infra.runtime.telemetry import BUILD_INFO, Metrics
from shardctl.service.queries import ControlState

_log = logging.getLogger(__name__)
EVERY_S: Final = 5.0
"""A wave of a rollout is judged within minutes: some dozen samples."""
_ANSWER_S: Final = 2.0
"""Rendering takes some ten milliseconds; a process that needs longer is overloaded, and is asked again soon."""
_SERIES_MAX: Final = 2_000
"""Of one process: more is a label without bound, and is cut off rather than kept."""
UNNAMED: Final = "unnamed"
"""The release of a process that is older than `build_info`."""
_ANSWERS: Final = frozenset({ProcessKind.ROUTER, ProcessKind.API, ProcessKind.WORKER, ProcessKind.RELAY})
KEPT: Final = (
    "router_requests", "router_request_seconds", "router_requests_shed", "router_refusals", "router_breaker_trips",
    "router_connections_broken", "cell_requests", "cell_request_seconds", "cell_commands", "cell_batch_seconds",
    "cell_batches_split", "cell_pool_refusals", "cell_reports_applied", "cell_reports_apply_seconds",
    "cell_venue_round_trip_seconds", "cell_worker_failures", "cell_outbox_failures", "cell_outbox_batch_seconds",
)  # fmt: skip
"""Families, as Prometheus names them: a counter's is its name without `_total`."""
_START: Final = "process_start_time_seconds"


class Sampling:
    """A duty of the leader."""

    def __init__(self, state: ControlState, backend: Backend, metrics: Metrics) -> None:
        self._state = state
        self._backend = backend
        self._metrics = metrics

    async def __call__(self, lease: int) -> None:
        """For ever. Raises LeaseLost."""
        async with HttpClient(connections_per_host=1) as http:
            while True:
                try:
                    await self.sample_once(lease, http)
                except DatabaseFailure as error:
                    _log.warning("a sample was not kept", exc_info=error)
                await asyncio.sleep(EVERY_S)

    async def sample_once(self, lease: int, http: HttpClient) -> int:
        """How many processes answered."""
        asked = [process for process in await self._backend.plan() if process.kind in _ANSWERS]
        answered = [row for row in await asyncio.gather(*(self._ask(http, process) for process in asked)) if row]
        if answered:
            await self._state.record_samples(lease, answered)
        self._metrics.counter("shardctl_samples_total").inc(len(answered))
        self._metrics.counter("shardctl_sample_gaps_total").inc(len(asked) - len(answered))
        return len(answered)

    async def _ask(self, http: HttpClient, process: ProcessSpec) -> dict[str, Any] | None:
        url = f"http://127.0.0.1:{process.operator_port}/metrics"
        try:
            answer = await http.request("GET", url, timeout_s=_ANSWER_S)
        except (PeerUnreachable, OutcomeUnknown):
            return None
        return make_sample(process, answer.body.decode()) if answer.status == 200 else None


def make_sample(process: ProcessSpec, rendered: str) -> dict[str, Any]:
    """The row of one process from what its `/metrics` says. Pure."""
    counters: dict[str, float] = {}
    started_at_s, release = 0.0, UNNAMED
    for name, labels, value in _samples(rendered):
        if name == _START:
            started_at_s = value
        elif name == BUILD_INFO:
            release = labels["release"]
        elif len(counters) < _SERIES_MAX:
            shown = ",".join(f'{label}="{text}"' for label, text in sorted(labels.items()))
            counters[f"{name}{{{shown}}}" if shown else name] = value
    return {
        "process": process.name,
        "cell": process.cell,
        "release": release,
        "started_at_s": started_at_s,
        "counters": counters,
    }


def _samples(rendered: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(rendered):
        if family.name in KEPT or family.name in (_START, BUILD_INFO):
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    yield sample.name, sample.labels, sample.value
