"""The map in the control database: read it, and make its next epoch by compare-and-set.

Every change is one procedure call, so it happens whole or not at all, with actor and reason in the history. A change
that was planned from an older epoch raises `StaleEpoch`. Nothing is retried here, because the plan may no longer be
right.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from infra.runtime.map_source import read_control_map
from infra.topology.cells import Cell
from infra.topology.identifiers import LineageId
from infra.topology.shard_map import ShardMap
from shardctl.errors import Interrupted, NotReachable
from shardctl.shardmap.errors import BY_SQLSTATE, MapNotCreated

LOT_DEFAULT: Final = 1024
"""Buckets of a new cell: 64 cells share the 65,536 before any must move."""
PINS_PER_CALL_MAX: Final = 100_000
"""Keeps one statement at some megabytes and one lock on the lineage at about a second."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One row of the map's history."""

    epoch: int
    actor: str
    reason: str
    change: Mapping[str, Any]
    made_at: datetime


class ShardMapStore:
    """Needs an autocommit connection of `control_owner` or `control_leader`. Methods raise what `BY_SQLSTATE` names,
    and psycopg's own errors if the connection fails (`open_store` names them). With a lease every change is made in one
    transaction with the check that it is the current one, or raises LeaseLost."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], lease: int | None = None) -> None:
        self._connection = connection
        self._lease = lease

    async def create_lineage(self, *, actor: str = "shardctl", reason: str = "new stack") -> LineageId:
        """Begin the map, once; later calls answer with the lineage that exists."""
        row = await self._call("select create_lineage_v1(%s, %s, %s)", [uuid4(), actor, reason])
        return LineageId(row[0])

    async def load(self) -> ShardMap:
        """The newest epoch. Raises `MapNotCreated`."""
        shard_map = await read_control_map(self._connection)
        if shard_map is None:
            raise MapNotCreated("this stack has no shard map yet")
        return shard_map

    async def add_cell(
        self, cell: Cell, *, lot: int = LOT_DEFAULT, actor: str, reason: str, expected: ShardMap | None = None
    ) -> ShardMap:
        """A new cell with `lot` buckets that are unassigned; no user moves. Raises `CellExists`, `NoFreeBuckets`,
        `StaleEpoch`."""
        held = expected or await self.load()
        await self._call(
            "select add_cell_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [held.epoch, *_cell_columns(cell), lot, actor, reason],
        )
        return await self.load()

    async def update_cell(self, cell: Cell, *, actor: str, reason: str, expected: ShardMap | None = None) -> ShardMap:
        """New state, weight or addresses, further public keys. Without a change there is no new epoch. Raises
        `UnknownCell`, `StaleEpoch`, `KeyIdReused`."""
        held = expected or await self.load()
        await self._call(
            "select update_cell_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [held.epoch, *_cell_columns(cell), actor, reason],
        )
        return await self.load()

    async def draw_ownership_epoch(self) -> int:
        """A new one, above all that were drawn and above the map's epoch."""
        row = await self._call("select draw_ownership_epoch_v1()", [])
        return int(row[0])

    async def set_pins(
        self,
        pins: Mapping[UUID, str | None],
        *,
        actor: str,
        reason: str,
        expected: ShardMap | None = None,
        ownership_epochs: Mapping[UUID, int] | None = None,
    ) -> ShardMap:
        """Pin users to cells, or unpin them (`None`), in one map epoch. `ownership_epochs`, by user: drawn before; a
        user without one gets a new one, unless the pin stays. Raises `UnknownCell`, `StaleEpoch`,
        `OwnershipEpochRefused`, ValueError for none or too many."""
        if not 0 < len(pins) <= PINS_PER_CALL_MAX:
            raise ValueError(f"between 1 and {PINS_PER_CALL_MAX} pins per call, not {len(pins)}")
        held = expected or await self.load()
        epochs = ownership_epochs or {}
        await self._call(
            "select set_pins_v1(%s, %s, %s, %s, %s, %s::bigint[])",
            [held.epoch, list(pins.keys()), list(pins.values()), actor, reason, [epochs.get(user) for user in pins]],
        )
        return await self.load()

    async def pin(self, user_id: UUID, cell: str, ownership_epoch: int, *, actor: str, reason: str) -> ShardMap:
        """Pin one user who has changed hands at an ownership epoch that was drawn before; the map with the pin. By that
        epoch alone: whatever else the map has become does no harm, and the same call again finds its pin. Raises
        `UnknownCell`, `OwnershipEpochRefused` for an epoch that is not above the user's last."""
        await self._call(
            "select set_pins_v1(null, %s, %s, %s, %s, %s)", [[user_id], [cell], actor, reason, [ownership_epoch]]
        )
        return await self.load()

    async def history(self, limit: int = 20) -> list[EpochRecord]:
        """Newest first."""
        cursor = await self._connection.execute(
            "select epoch, actor, reason, change, made_at from control.epochs order by epoch desc limit %s",
            [min(limit, 1000)],
        )
        return [EpochRecord(*row) for row in await cursor.fetchall()]

    async def find_by_email(self, email_hashes: list[bytes]) -> UUID | None:
        row = await self._call("select (select user_id from find_email_claim_v1(%s))", [email_hashes])
        return None if row[0] is None else UUID(str(row[0]))

    async def revoke_tokens(self, user_id: UUID, *, actor: str, reason: str) -> int:
        """Tokens issued to the user before the returned second are void."""
        row = await self._call("select revoke_tokens_v1(%s, %s, %s)", [user_id, actor, reason])
        return int(row[0])

    async def revocations(self) -> dict[UUID, int]:
        cursor = await self._connection.execute("select user_id, not_before_s from read_revocations_v1()")
        return dict(await cursor.fetchall())

    async def _call(self, statement: Any, parameters: list[Any]) -> tuple[Any, ...]:
        try:
            async with self._connection.transaction():
                if self._lease is not None:
                    # It locks the lease's row: no other leader begins before this change is committed.
                    await self._connection.execute("select check_lease_v1(%s)", [self._lease])
                row: tuple[Any, ...] | None = await (await self._connection.execute(statement, parameters)).fetchone()
        except psycopg.DatabaseError as error:
            refusal = BY_SQLSTATE.get(error.sqlstate or "")
            if refusal is None:
                raise
            raise refusal(error.diag.message_primary or "refused") from error
        assert row is not None
        return row


@asynccontextmanager
async def open_store(dsn: str, *, lease: int | None = None) -> AsyncIterator[ShardMapStore]:
    """A store on a connection of its own; with a lease, one for a step of an operation. Raises `NotReachable` with
    nothing done, `Interrupted` when the connection is lost meanwhile: whether the last change holds is not known."""
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise NotReachable(f"the control database does not answer: {error}") from error
    try:
        async with connection:
            yield ShardMapStore(connection, lease)
    except psycopg.OperationalError as error:
        raise Interrupted(
            f"the control database was lost ({error}); whether the change holds: `shardctl map show`"
        ) from error


def _cell_columns(cell: Cell) -> list[Any]:
    signing_keys = Jsonb(dict(cell.signing_keys))
    return [cell.cell_id, cell.state.value, cell.weight, list(cell.api_urls), list(cell.operator_urls), signing_keys]
