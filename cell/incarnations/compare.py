"""Compare a restored copy of the books with the cell that it is a copy of, user by user, while that one trades on.

Who has written nothing since the copy's moment (`write_seq` is the same) must be the same in everything: orders,
positions, executions, lots, cash, and the head of the ledger's chain, by digests of whole rows. Who has written on must
at least hold the copy's ledger as the beginning of theirs: the entry with the copy's last number has the hash that is
the head of the copy's chain, and a hash covers all that came before. Reads only; pages of users, so memory is flat.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from infra.runtime.database import Pool

PAGE: Final = 500
"""Users whose rows are digested by one statement: far within its time limit, however long their history."""
SAMPLE_MAX: Final = 20
"""Differences that are listed; all are counted."""
_COMMITTED_WITHIN: Final = timedelta(seconds=60)
"""A user is committed within so long after the time in their row: statements end after seconds."""
_TOTALS: Final = ("orders", "positions", "executions", "entry_seq", "cash_micros", "cash_held_micros")
_HEADS: Final = ("entry_seq", "order_event_seq")

_FIGURES: LiteralString = """
with page as materialized (
    select user_id, created_at, write_seq, entry_seq, order_event_seq, chain_head, cash_micros, cash_held_micros
      from brokerage.users
     where purged_at is null and (%(after)s::uuid is null or user_id > %(after)s)
       and (%(until)s::uuid is null or user_id <= %(until)s)
     order by user_id limit %(limit)s
),
wanted as materialized (select array_agg(user_id) as ids from page),
digests as (
    select o.user_id, 'orders' as name, count(*) as number, sum(hashtextextended(o::text, 0)) as digest
      from brokerage.orders o, wanted w where o.user_id = any (w.ids) group by o.user_id
    union all
    select p.user_id, 'positions', count(*), sum(hashtextextended(p::text, 0))
      from brokerage.positions p, wanted w where p.user_id = any (w.ids) group by p.user_id
    union all
    select x.user_id, 'executions', count(*), sum(hashtextextended(x::text, 0))
      from all_executions x, wanted w where x.user_id = any (w.ids) group by x.user_id
    union all
    select l.user_id, 'lots', count(*), sum(hashtextextended(l::text, 0))
      from brokerage.unsettled_lots l, wanted w where l.user_id = any (w.ids) group by l.user_id
),
by_user as (
    select user_id, jsonb_object_agg(name, number) as numbers, jsonb_object_agg(name, digest::text) as digests
      from digests group by user_id
)
select p.user_id, p.created_at, p.write_seq, p.entry_seq, p.order_event_seq, p.chain_head, p.cash_micros,
       p.cash_held_micros, coalesce(d.numbers, '{}') as numbers, coalesce(d.digests, '{}') as digests
  from page p left join by_user d on d.user_id = p.user_id
 order by p.user_id
"""
_HASHES: LiteralString = """
select j.user_id, j.hash
  from unnest(%(users)s::uuid[], %(seqs)s::bigint[]) as t (user_id, seq)
  join all_journal_entries j on j.user_id = t.user_id and j.seq = t.seq
"""
_YOUNGEST: LiteralString = "select max(created_at) as created_at from brokerage.users"

Row = Mapping[str, Any]


@dataclass
class CopyComparison:
    """What was compared, and what differs."""

    users: int = 0
    equal: int = 0
    """Users who have written nothing since, and are the same in everything."""
    traded_on: int = 0
    """Users who have written since: their ledger goes on from the copy's."""
    only_in_source: int = 0
    """Users who are younger than the copy."""
    differences: int = 0
    sample: list[dict[str, str]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    """Of the copy, over all users."""

    def differ(self, user: UUID, what: str) -> None:
        self.differences += 1
        if len(self.sample) < SAMPLE_MAX:
            self.sample.append({"user_id": str(user), "what": what})

    def count(self, row: Row) -> None:
        self.users += 1
        for name in _TOTALS:
            value = row[name] if name in row else row["numbers"].get(name, 0)
            self.totals[name] = self.totals.get(name, 0) + int(value)


def compare_page(
    found: CopyComparison,
    copies: Sequence[Row],
    sources: Iterable[Row],
    hashes: Mapping[UUID, bytes],
    newest: datetime | None,
) -> None:
    """Rows of the same range of users from both sides. `hashes`: of the source's entries with the numbers of the last
    ones in the copy. `newest`: when the copy's youngest user was made. Pure."""
    by_user = {source["user_id"]: source for source in sources}
    for copy in copies:
        user = copy["user_id"]
        source = by_user.pop(user, None)
        found.count(copy)
        if source is None:
            found.differ(user, "not in the source")
        elif source["write_seq"] == copy["write_seq"]:
            _compare_still(found, copy, source)
        elif source["write_seq"] < copy["write_seq"] or any(source[name] < copy[name] for name in _HEADS):
            found.differ(user, "the source is behind its copy")
        elif copy["entry_seq"] > 0 and hashes.get(user) != copy["chain_head"]:
            found.differ(user, "the source's ledger does not go on from the copy's")
        else:
            found.traded_on += 1
    for user, source in by_user.items():
        found.only_in_source += 1
        if newest is not None and source["created_at"] < newest - _COMMITTED_WITHIN:
            found.differ(user, "older than the copy's youngest user, and not in the copy")


def _compare_still(found: CopyComparison, copy: Row, source: Row) -> None:
    names = ("entry_seq", "order_event_seq", "chain_head", "cash_micros", "cash_held_micros", "numbers", "digests")
    different = [name for name in names if copy[name] != source[name]]
    if different:
        found.differ(copy["user_id"], f"the same number of writes, other {', '.join(different)}")
    else:
        found.equal += 1


async def compare_copy(copy: Pool, source: Pool) -> CopyComparison:
    """All users of both. Raises a DatabaseFailure, and what the driver raises."""
    found = CopyComparison()
    [youngest] = await _read(copy, _YOUNGEST, {})
    after: UUID | None = None
    while True:
        copies = await _read(copy, _FIGURES, {"after": after, "until": None, "limit": PAGE})
        until = copies[-1]["user_id"] if len(copies) == PAGE else None
        sources = await _read(source, _FIGURES, {"after": after, "until": until, "limit": None})
        last = {row["user_id"]: row["entry_seq"] for row in copies}
        parameters = {"users": list(last), "seqs": list(last.values())}
        rows = await _read(source, _HASHES, parameters)
        hashes = {row["user_id"]: row["hash"] for row in rows}
        compare_page(found, copies, sources, hashes, youngest["created_at"])
        if until is None:
            return found
        after = until


async def _read(pool: Pool, query: LiteralString, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()
