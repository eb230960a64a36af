"""Reconcile one cell: compare it with the venue and with Kafka, let it check its books and keep everything as one run.

A side that does not answer is recorded with its reason, and the run is `incomplete`, never `equal`. Nothing is
corrected here. A run that is interrupted before its end leaves nothing, and is started again from the beginning.
"""

from datetime import datetime
from typing import Any, Final

from infra.backends.backend import Backend
from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.kafka_consumer import TopicsMissing
from shardctl.cell_admin import CellAdmin
from shardctl.errors import NotReachable
from shardctl.events.reading import EventsExpired
from shardctl.exchange_admin import open_exchange_admin
from shardctl.reconciliation.events import compare_with_kafka
from shardctl.reconciliation.venue import compare_with_venue
from shardctl.stack.broker import kafka_of

CHECKS_TIMEOUT_S: Final = 600.0
"""The checks read whole tables, so they take minutes in a cell with long books."""
SAMPLE_MAX: Final = 100
"""Differences that are sent along, the most that the cell keeps with a run."""


async def reconcile(backend: Backend, cell: str, admin: CellAdmin, started_at: datetime) -> dict[str, Any]:
    """The run as the cell keeps it. Raises NotReachable if the cell itself does not answer, Refused with its reason."""
    found = {
        "started_at": started_at.isoformat(),
        "venue": await _venue(backend, cell, admin),
        "events": await _events(backend, cell, admin),
    }
    return await admin.call(cell, "POST", "/operator/v1/reconcile", found, timeout_s=CHECKS_TIMEOUT_S)


async def _venue(backend: Backend, cell: str, admin: CellAdmin) -> dict[str, Any]:
    await admin.summary(cell)  # so that a cell that does not answer is not recorded as a venue that does not
    try:
        async with open_exchange_admin(backend, admin.token) as exchange:
            found = await compare_with_venue(cell, admin, exchange)
    except NotReachable as error:
        return {"asked": False, "reason": str(error)}
    return {
        "asked": True,
        "compared": found.compared,
        "differences": found.differences,
        "sample": list(found.sample[:SAMPLE_MAX]),
    }


async def _events(backend: Backend, cell: str, admin: CellAdmin) -> dict[str, Any]:
    try:
        return await compare_with_kafka(cell, admin, kafka_of(backend))
    except (TopicsMissing, BrokerUnreachable, EventsExpired) as error:
        return {"asked": False, "reason": str(error)}
