"""One cell of a move as the mover reaches it: the calls of `/operator/v1/moves/{move_id}`, and what a refusal means.

Every request carries the lease's number and a number that counts up in this process. So a cell knows the order in which
they were sent, and refuses one that arrives after a later one: a page whose answer was given up for lost is not written
over what was proven since. No answer, and an answer of 500 or above, are `Away`: the request may have been done.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from shardctl.cell_admin import CellAdmin, CellRefused
from shardctl.errors import NotReachable
from shardctl.moves.frame import FRAME_BYTES_MAX
from shardctl.moves.states import Side, SideState, read_side

ORDER_HEADER: Final = "Move-Order"
PLACE_HEADER: Final = "Move-Place"
_UNKNOWN: Final = frozenset({"MOVE_UNKNOWN", "USER_NOT_FOUND"})
_SENT: Final = itertools.count(1)
"""Of all moves in this process: a lease is led by one process, so lease and number together only grow."""


class Away(Exception):
    """The cell did not answer, or could not: what was asked may have been done. Asking again is harmless."""


class SideRefused(Exception):
    """The cell said no, and means it."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class LeaseOver(SideRefused):
    """The halt ended before the user had left: they trade on."""


class MoveSide(Protocol):
    """Every call raises Away, SideRefused, LeaseLost."""

    @property
    def name(self) -> str: ...

    async def ask(self, verb: str, body: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]: ...

    async def read(self, verb: str, body: Mapping[str, Any], *, timeout_s: float) -> "Page": ...

    async def load(self, frame: bytes, *, timeout_s: float) -> Mapping[str, Any]:
        """The proof of what the frame asks to be attested."""

    async def look(self, user_id: UUID, *, timeout_s: float) -> Side: ...


@dataclass(frozen=True, slots=True)
class Page:
    frame: bytes
    place: object | None
    """Where the next page begins; None: there is none."""


@dataclass(frozen=True, slots=True)
class CellSide:
    """A cell of this stack."""

    admin: CellAdmin
    name: str
    move_id: UUID
    lease: int

    async def ask(self, verb: str, body: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]:
        with _refusals():
            return await self.admin.call(
                self.name, "POST", self._path(verb), dict(body), timeout_s=timeout_s, headers=self._order()
            )

    async def read(self, verb: str, body: Mapping[str, Any], *, timeout_s: float) -> Page:
        with _refusals():
            content, headers = await self.admin.call_for_bytes(
                self.name,
                self._path(verb),
                dict(body),
                timeout_s=timeout_s,
                headers=self._order(),
                bytes_max=FRAME_BYTES_MAX,
            )
        place = headers.get(PLACE_HEADER)
        return Page(content, None if place is None else msgspec.json.decode(place))

    async def load(self, frame: bytes, *, timeout_s: float) -> Mapping[str, Any]:
        with _refusals():
            return await self.admin.send_bytes(
                self.name, self._path("load"), frame, timeout_s=timeout_s, headers=self._order()
            )

    async def look(self, user_id: UUID, *, timeout_s: float) -> Side:
        try:
            with _refusals():
                answer = await self.admin.call(
                    self.name, "GET", f"{self._path('')}?user_id={user_id}", timeout_s=timeout_s
                )
        except SideRefused as error:
            if error.code in _UNKNOWN:
                return Side(SideState.NONE)
            raise
        return read_side(answer)

    def _path(self, verb: str) -> str:
        return f"/operator/v1/moves/{self.move_id}/{verb}"

    def _order(self) -> dict[str, str]:
        return {ORDER_HEADER: f"{self.lease}-{next(_SENT)}"}


@contextmanager
def _refusals() -> Iterator[None]:
    """What the client of cells raises, as the mover tells it apart."""
    try:
        yield
    except NotReachable as error:
        raise Away(str(error)) from error
    except CellRefused as error:
        if error.status >= 500:
            raise Away(str(error)) from error
        refusal = LeaseOver if error.code == "LEASE_OVER" else SideRefused
        raise refusal(str(error), error.status, error.code) from error
