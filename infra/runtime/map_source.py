"""Where a shard map can be read: the control database, a file, and Redis (`redis_map_source.py`). Each may be absent,
slow, damaged or old.

Readers only: the one writer is `shardctl`. A source either gives a whole valid map, or `None` (it has none), or raises
`MapUnavailable` or a `MapError`; it never gives part of one. Judging age and lineage is the watcher's work.
"""

import asyncio
import os
import secrets
import sys
from array import array
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg

from infra.runtime.dsn import with_code
from infra.topology.errors import MapCorrupted
from infra.topology.identifiers import Epoch, LineageId
from infra.topology.ownership_epochs import OwnershipEpochs
from infra.topology.shard_map import ShardMap
from infra.topology.snapshot import cells_from_json, decode_map, encode_map

SNAPSHOT_BYTES_MAX: Final = 512 * 1024 * 1024
"""Twenty-eight million pins of 18 bytes; a larger document is damage, and is not unpacked."""
_READ_EPOCH: Final = "select l.lineage, (select max(e.epoch) from control.epochs e) from control.lineage l"
_READ_MAP: Final = (
    "select lineage, epoch, directory, owners, pinned, pin_owners, bucket_epochs, pin_epochs from read_map_v1()"
)


class MapUnavailable(Exception):
    """The source did not answer. It may have a map."""


class ControlMapSource:
    """Opens a connection per reading: rare, and a router must not hold a pool towards what may be dead for a day."""

    def __init__(
        self,
        dsn: str,
        *,
        connect_timeout_s: float = 2.0,
        statement_timeout_s: float = 10.0,
        code: str | None = None,
    ) -> None:
        self._dsn = dsn if code is None else with_code(dsn, code, "map-reader")
        self._connect_timeout_s = connect_timeout_s
        self._statement_timeout_s = statement_timeout_s

    async def read(self) -> ShardMap | None:
        """The newest map, None if there is none yet. Raises MapUnavailable."""
        try:
            async with asyncio.timeout(self._connect_timeout_s + self._statement_timeout_s):
                async with await self._connect() as connection:
                    return await read_control_map(connection)
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise MapUnavailable(f"control database: {str(error) or type(error).__name__}") from error

    async def read_epoch(self) -> tuple[LineageId, Epoch] | None:
        """Cheap, so it can be asked often. Raises MapUnavailable."""
        try:
            async with asyncio.timeout(self._connect_timeout_s + self._statement_timeout_s):
                async with await self._connect() as connection:
                    row = await (await connection.execute(_READ_EPOCH)).fetchone()
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise MapUnavailable(f"control database: {str(error) or type(error).__name__}") from error
        return None if row is None else (LineageId(row[0]), Epoch(row[1]))

    async def _connect(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        async with asyncio.timeout(self._connect_timeout_s):
            return await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)


class FileMapSource:
    """The last good map, kept by its reader. Written beside and renamed, so it is whole or absent, crash or not."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> ShardMap | None:
        return await asyncio.to_thread(self._read)

    async def write(self, shard_map: ShardMap) -> None:
        await asyncio.to_thread(self._write, encode_map(shard_map))

    def _read(self) -> ShardMap | None:
        try:
            if self._path.stat().st_size > SNAPSHOT_BYTES_MAX:
                raise MapCorrupted(f"{self._path} is too large for a map")
            document = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MapUnavailable(f"file: {error}") from error
        return decode_map(document)

    def _write(self, document: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            with open(beside, "xb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        finally:
            beside.unlink(missing_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename, too, must survive a power cut
        finally:
            os.close(folder)


async def read_control_map(connection: psycopg.AsyncConnection[Any]) -> ShardMap | None:
    """The map as the control database has it now; `None` before `create_lineage`. Raises MapInvalid."""
    cursor = await connection.execute(_READ_MAP)
    row = await cursor.fetchone()
    if row is None:
        return None
    return _from_row(*row)


def _from_row(
    lineage: UUID,
    epoch: int,
    directory: list[dict[str, Any]],
    owners: bytes,
    pinned: bytes,
    pin_owners: bytes,
    bucket_epochs: bytes,
    pin_epochs: bytes,
) -> ShardMap:
    halves = _big_endian("Q", pinned)
    return ShardMap(
        lineage=LineageId(lineage),
        epoch=Epoch(epoch),
        cells=cells_from_json(directory),
        owners=_big_endian("H", owners),
        pin_high=halves[0::2],
        pin_low=halves[1::2],
        pin_owners=_big_endian("H", pin_owners),
        ownership=OwnershipEpochs(_big_endian("Q", bucket_epochs), _big_endian("Q", pin_epochs)),
    )


def _big_endian(typecode: str, raw: bytes) -> "array[int]":
    part = array(typecode)
    part.frombytes(raw)
    if sys.byteorder == "little":
        part.byteswap()
    return part
