"""Delete what Kafka has confirmed.

The only place that removes outbox rows, called with nothing but rows whose delivery reports arrived. A deletion that is
lost (the relay runs without waiting for the disk) shows the rows again: they are published twice under the same event
ids, which is the promise, never zero times.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from cell.outbox.counting import count_rows
from cell.outbox.event_types import OutboxRow
from infra.runtime.database import Connection

_DELETE = "select delete_outbox_v1(%b::bigint[], %b::uuid, %s::jsonb)"


async def delete_published(connection: Connection, rows: Sequence[OutboxRow], *, term: UUID) -> None:
    """`term` is the leadership's secret (`start_term`). If it is over the database refuses: the next one publishes
    again. What the rows told goes along, to be counted in the same transaction."""
    counts = msgspec.json.encode(count_rows(rows)).decode()
    await connection.execute(_DELETE, [[row.id for row in rows], term, counts])
