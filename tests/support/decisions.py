"""What an operator has to decide about, put into a cell's books: a transfer, a report, a restored cell."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from cell.incarnations.queries import FENCE
from tests.support.databases import TestDatabase


def waiting_transfer(root: psycopg.Connection[Any], user_id: UUID, key: str) -> UUID:
    """One that an operator must decide."""
    [(transfer_id,)] = root.execute(
        "select resource_id from transfer_shares_v1(array[%s::uuid], array[%s], array['\\x01'::bytea],"
        " array['AAPL'], array[1000000::bigint], array[1000000::bigint], p_accept => false, p_wait => true)",
        [user_id, key],
    ).fetchall()
    assert isinstance(transfer_id, UUID)
    return transfer_id


def quarantined_report(root: psycopg.Connection[Any]) -> int:
    [(report_id,)] = root.execute(
        "insert into brokerage.quarantined_reports (reason, order_id, venue, session, venue_seq, body, at)"
        " values ('odd', %s, 'exchange', 'cell-1', 1, '{}', now()) returning id",
        [uuid4()],
    ).fetchall()
    return int(report_id)


def fence(database: TestDatabase, *, restored_to: datetime | None = None) -> UUID:
    """As a restore leaves a cell."""
    incarnation = uuid4()
    with psycopg.connect(database.owner_dsn) as owner:
        owner.execute(FENCE, [incarnation, "cell-1-x", restored_to, "me", "drill"])
    return incarnation


def reconcile(database: TestDatabase, verdict: str) -> UUID:
    run = uuid4()
    with psycopg.connect(database.service_dsn) as service:
        found = Jsonb([])
        service.execute(
            "select record_reconciliation_v1(%s, clock_timestamp(), clock_timestamp(), clock_timestamp(),"
            " 'me', %s, %s, %s, %s, %s)",
            [run, verdict, found, found, Jsonb({}), Jsonb({})],
        )
    return run
