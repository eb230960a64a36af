"""Reconcile one cell: ask the venue, ask Kafka, let the cell prove its books and keep everything as one run.

What cannot be asked is recorded with its reason, and the run is `incomplete`: never a pass. Nothing is corrected here.
Interrupted before its end a run leaves nothing; it is simply begun again.
"""

from typing import Any, Final

from infra.backends.local.backend import LocalBackend
from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_consumer import TopicsMissing
from infra.runtime.settings import KafkaSettings
from shardctl.cell_admin import CellAdmin, open_cell_admin
from shardctl.errors import NotReachable
from shardctl.events.reading import EventsThrownAway
from shardctl.exchange_admin import open_exchange_admin
from shardctl.reconciliation.events import compare_with_kafka
from shardctl.reconciliation.venue import compare_with_venue
from shardctl.stack.current import stack_clock

CHECKS_TIMEOUT_S: Final = 600.0
SAMPLE_MAX: Final = 100
_PATH: Final = "/operator/v1/reconciliations"


async def reconcile(backend: LocalBackend, cell: str) -> dict[str, Any]:
    """The run as the cell keeps it. Raises NotReachable if the cell itself does not answer."""
    started_at = stack_clock(backend).now()
    async with open_cell_admin(backend) as admin:
        found = {
            "started_at": started_at.isoformat(),
            "venue": await _venue(backend, cell, admin),
            "events": await _events(backend, cell, admin),
        }
        return await admin.call(cell, "POST", "/operator/v1/reconcile", found, timeout_s=CHECKS_TIMEOUT_S)


async def list_reconciliations(backend: LocalBackend, cell: str, limit: int) -> list[dict[str, Any]]:
    """The last runs, newest first."""
    async with open_cell_admin(backend) as admin:
        page = await admin.call(cell, "GET", f"{_PATH}?limit={limit}")
    items: list[dict[str, Any]] = page["items"]
    return items


async def _venue(backend: LocalBackend, cell: str, admin: CellAdmin) -> dict[str, Any]:
    await admin.summary(cell)  # a cell that does not answer is its own trouble, not the venue's
    try:
        async with open_exchange_admin(backend) as exchange:
            found = await compare_with_venue(cell, admin, exchange)
    except NotReachable as error:
        return {"asked": False, "reason": str(error)}
    return {
        "asked": True,
        "compared": found.compared,
        "differences": found.differences,
        "sample": list(found.sample[:SAMPLE_MAX]),
    }


async def _events(backend: LocalBackend, cell: str, admin: CellAdmin) -> dict[str, Any]:
    addresses = backend.addresses()
    settings = KafkaSettings(bootstrap_servers=addresses.kafka, topic_prefix=addresses.record.spec.topic_prefix)
    try:
        return await compare_with_kafka(cell, admin, settings)
    except (TopicsMissing, BrokerUnreachable, EventsThrownAway) as error:
        return {"asked": False, "reason": str(error)}
