"""Keeps the list of revocations: from its own file at start, by push from Redis, and asked for now and then in Redis
and the control database, so that a lost push costs seconds.

With all of them away the list in memory stands, and a restart reads the file. Merging is safe in any order, so no
source has to be newer than another.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from infra.runtime.cancelling import cancel_all
from infra.runtime.revocation_source import RedisRevocations, RevocationsUnavailable
from infra.security.revocations import Revocations, RevocationsCorrupted, decode_revocations, encode_revocations

_log = logging.getLogger(__name__)
_LISTEN_AGAIN_S: Final = 0.5
"""After Redis broke off: a push that is missed meanwhile comes with the next poll."""


class RevocationWatcher:
    """`held` is the list; `on_revoked` is called with the users for whom it has become stricter."""

    def __init__(
        self,
        *,
        redis_source: RedisRevocations,
        ask_control: Callable[[], Awaitable[Mapping[UUID, int]]],
        file: Path,
        poll_s: float,
        on_revoked: Callable[[set[UUID]], None],
        now: Callable[[], float],
    ) -> None:
        self._redis_source = redis_source
        self._ask_control = ask_control
        self._file = file
        self._poll_s = poll_s
        self._on_revoked = on_revoked
        self._now = now
        self._tasks: list[asyncio.Task[None]] = []
        self.held = Revocations()
        self._kept: Mapping[UUID, int] = {}
        self.refused = 0
        self.failures = 0

    async def start(self) -> None:
        self._take_document(await asyncio.to_thread(_read, self._file))
        self._kept = self.held.entries()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        await cancel_all(self._tasks)
        self._tasks = []

    async def refresh(self) -> None:
        """Ask both sources; either may be away."""
        for ask in (self._redis_source.read, self._ask_control):
            try:
                async with asyncio.timeout(self._poll_s):
                    self._merge(await ask())
            except RevocationsCorrupted as error:
                self._refuse(error)
            except Exception as error:  # whatever a dead database throws: the list in memory stands
                self.failures += 1
                _log.debug("no revocations from a source", extra={"why": str(error)})

    async def _keep(self) -> None:
        """What is held belongs into the file, also what a push brought; where that fails, the next poll tries again."""
        entries = self.held.entries()
        if entries != self._kept and await asyncio.to_thread(_write, self._file, encode_revocations(entries)):
            self._kept = entries

    def _merge(self, entries: Mapping[UUID, int]) -> None:
        changed = self.held.merge(entries, int(self._now()))
        if changed:
            self._on_revoked(changed)
            _log.info("access tokens revoked", extra={"users": len(changed)})

    def _take_document(self, document: bytes | None) -> None:
        if document is None:
            return
        try:
            self._merge(decode_revocations(document))
        except RevocationsCorrupted as error:
            self._refuse(error)

    def _refuse(self, error: RevocationsCorrupted) -> None:
        self.refused += 1
        _log.error("revocations refused", extra={"why": str(error)})

    async def _listen(self) -> None:
        while True:
            try:
                await self._redis_source.listen(self._take_document)
            except RevocationsUnavailable as error:
                _log.debug("not listening for revocations", extra={"why": str(error)})
            except Exception:
                _log.exception("listening for revocations failed in a way nobody thought of")
            await asyncio.sleep(_LISTEN_AGAIN_S)

    async def _poll(self) -> None:
        while True:
            await self.refresh()
            await self._keep()
            await asyncio.sleep(self._poll_s)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(path: Path, document: bytes) -> bool:
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(document)
        os.replace(beside, path)
    except OSError as error:
        _log.error("the file of revocations cannot be written", extra={"why": str(error)})
        return False
    return True
