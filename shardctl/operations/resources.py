"""What the actions of a real stack's operations work on, each way fenced by the lease's number; and, without a lease,
what a person's act at the control service works on.

Local changes: under the stack's lock, and only if the stack has not met a higher number (`fenced`). The map: in one
transaction with the check of the lease. Cells: by the number in the operator's token, which cells compare with the
highest they met. Without a lease (`--unrecorded`, when the control database is lost) only the stack's lock protects.
An act needs none: it changes the map by compare-and-set and users in the transaction of their cell, whoever leads.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from infra.backends.backend import Backend, Overtaken
from infra.runtime.clock import SystemClock
from shardctl.cell_admin import CellAdmin, open_cell_admin
from shardctl.moves.queries import MoveRecords, open_move_records
from shardctl.operations.errors import LeaseLost
from shardctl.operations.queries import prune_control
from shardctl.persons import os_user
from shardctl.shardmap.locate import LocatedUser, locate_in
from shardctl.shardmap.store import ShardMapStore, open_store
from shardctl.token_signing import token_of_step

ACT_TIMEOUT_S: Final = 20.0
"""For a cell's answer to a person's act: less than the command waits for the service's, so that the command hears which
cell was silent."""


@dataclass(frozen=True, slots=True)
class StackResources:
    """One stack, as one operation of one lease may change it, or one act of a person."""

    backend: Backend
    clock: SystemClock
    control_dsn: str
    lease: int | None
    actor: str
    reason: str | None
    operation: int | None = None
    """Its number; None while it is planned."""

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Backend]:
        """The back end, for a change of processes or files. Raises LeaseLost, and BackendError if another command
        keeps the stack's lock for too long."""
        try:
            async with self.backend.fenced(self.lease):
                yield self.backend
        except Overtaken as error:
            raise LeaseLost(str(error)) from error

    @asynccontextmanager
    async def map_store(self) -> AsyncIterator[ShardMapStore]:
        """Raises NotReachable; its writes LeaseLost."""
        async with open_store(self.control_dsn, lease=self.lease) as store:
            yield store

    @asynccontextmanager
    async def move_records(self) -> AsyncIterator[MoveRecords]:
        """Raises NotReachable; its writes LeaseLost."""
        async with open_move_records(self.control_dsn, lease=self.lease) as records:
            yield records

    async def locate(self, name: str) -> LocatedUser:
        """A user, by id or email. Raises Refused for nobody, NotReachable, Interrupted."""
        async with self.map_store() as store:
            return await locate_in(store, self.backend, name)

    async def prune(self) -> int:
        """One piece of what is old in the control database; rows deleted. Raises LeaseLost, NotReachable."""
        assert self.lease is not None, "what is old is deleted by the leader"
        return await prune_control(self.control_dsn, self.lease)

    @asynccontextmanager
    async def cells(self, reason: str | None = None) -> AsyncIterator[CellAdmin]:
        """The cells, asked in the name of who asked for the operation; `reason`: the kind's own, if they said none.
        Raises BackendError; its calls what `CellAdmin.call` raises."""
        token = token_of_step(self.backend, subject=self.actor, reason=self.reason or reason, fence=self.lease)
        async with open_cell_admin(self.backend, token) as admin:
            yield admin


def unfenced_resources(backend: Backend, clock: SystemClock, control_dsn: str) -> StackResources:
    """For `--unrecorded`: without a lease."""
    return StackResources(backend, clock, control_dsn, None, os_user(), None)
