"""A database that has backups and whose log goes to no archive any more: a backup of it is begun.

So it is after a restore whose command died before its own backup: the log of the new incarnation needs one to begin
with. One operation an hour at most: the server may be down, until somebody repeats the restore or says `up`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from infra.backends.backend import Backend, BackendError
from infra.backends.backups import Backups, HasBackups
from infra.runtime.procedures import DatabaseFailure
from infra.security.roles import Role
from shardctl.backups.naming import machine_now
from shardctl.backups.servers import all_servers, open_backups, subject_of
from shardctl.errors import Blocked, ShardctlError
from shardctl.persons import Person, Way
from shardctl.service.submissions import Submissions

_log = logging.getLogger(__name__)
EVERY_S: Final = 30.0
PATIENCE_S: Final = 300.0
"""A restore takes its own backup within a minute or so; this is for one that did not."""
PERSON: Final = Person("control", Role.ADMIN, Way.SCHEDULE)
_KIND: Final = "backup.create"


class Archiving:
    """A duty of the leader."""

    def __init__(
        self, submissions: Submissions, backend: Backend, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._submissions = submissions
        self._backend = backend
        self._monotonic = monotonic
        self._since: dict[str, float] = {}
        """Servers whose log goes nowhere, and when that was seen first."""

    async def __call__(self, lease: int) -> None:
        """For ever."""
        while isinstance(self._backend, HasBackups):
            await asyncio.sleep(EVERY_S)
            try:
                await self.begin_where_nothing_is_archived(lease)
            except (BackendError, ShardctlError, DatabaseFailure) as error:
                _log.warning("cannot see what is archived", exc_info=error)
        await asyncio.Event().wait()

    async def begin_where_nothing_is_archived(self, lease: int) -> list[int]:
        """The operations that were begun. Raises Refused, BackendError, and what asking for an operation raises."""
        backups = open_backups(self._backend, lease=lease)
        return [
            number
            for server in all_servers(self._backend)
            if (number := await self._begin(backups, server)) is not None
        ]

    async def _begin(self, backups: Backups, server: str) -> int | None:
        if backups.archive_of(server) is not None or not (known := backups.backups(server)):
            self._since.pop(server, None)
            return None
        if self._monotonic() - self._since.setdefault(server, self._monotonic()) < PATIENCE_S:
            return None
        key = f"archive after {known[-1].label} {machine_now():%Y-%m-%dT%H}"
        why = f"nothing of {subject_of(server)} is archived"
        try:
            number, is_new = await self._submissions.begin_unasked(
                _KIND, {"of": subject_of(server)}, person=PERSON, reason=why, key=key
            )
        except Blocked as error:
            _log.info("waits", extra={"server": server, "why": str(error)})
            return None
        if is_new:
            _log.info("begun", extra={"server": server, "operation": number})
        return number if is_new else None
