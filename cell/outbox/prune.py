"""Delete what Kafka has confirmed.

The only place that removes outbox rows, called with nothing but ids whose delivery reports arrived. A deletion that is
lost (the relay runs without waiting for the disk) shows the rows again: they are published twice under the same event
ids, which is the promise, never zero times.
"""

from collections.abc import Sequence
from uuid import UUID

from infra.runtime.database import Connection

_DELETE = "select delete_outbox_v1(%b::bigint[], %b::uuid)"


async def delete_published(connection: Connection, ids: Sequence[int], *, term: UUID) -> None:
    """`term` is the leadership's secret (`start_term`). If it is over the database refuses: the next one publishes
    again."""
    await connection.execute(_DELETE, [list(ids), term])
