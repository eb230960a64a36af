"""Keyset pages: a token is where the last page ended, so a page costs the same wherever it lies.

A token is opaque to clients but not secret: it holds one key of the caller's own rows, and every query is bound to the
caller. One that was tampered with is refused or finds the caller's own rows.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from cell import errors
from infra.runtime.problem import Problem
from infra.topology.identifiers import parse_uuid

Row = TypeVar("Row")
View = TypeVar("View")

LIMIT_DEFAULT: Final = 50
"""Rows of a page if the client says nothing: a screen."""
LIMIT_MAX: Final = 500
"""Rows of a page at most: ten milliseconds of one core."""
VIEWED_AT_ONCE: Final = 32
"""Rows, of 15 to 25 us each: other clients' requests wait for half a millisecond, where a full page takes ten."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the caller asked for: how many, from where, which way."""

    limit: int
    after: str | None
    descending: bool

    def after_number(self) -> int | None:
        """`after` of a list whose key is a sequence. Raises Problem 422 if the token is of another list."""
        if self.after is None:
            return None
        # eighteen digits fit a bigint, whatever they are
        if not (self.after.isascii() and self.after.isdigit()) or len(self.after) > 18:
            raise foreign_token()
        return int(self.after)

    def after_id(self) -> UUID | None:
        """`after` of a list whose key is a UUID. Raises Problem 422 if the token is of another list."""
        try:
            return None if self.after is None else parse_uuid(self.after)
        except ValueError as error:
            raise foreign_token() from error

    @property
    def rows_to_read(self) -> int:
        """One more than is shown: it says whether a page follows."""
        return self.limit + 1

    def cut(self, rows: Sequence[Row], key: Callable[[Row], object]) -> tuple[Sequence[Row], str | None]:
        """Of `rows_to_read` rows those to show, and the next page's token: the sealed `key` of the last one shown."""
        shown = rows[: self.limit]
        return shown, seal(key(shown[-1])) if len(rows) > self.limit else None


async def view_rows(rows: Sequence[Row], view: Callable[[Row], View]) -> list[View]:
    """What the caller is shown of the rows; other clients' requests go on after every few of them."""
    views: list[View] = []
    for start in range(0, len(rows), VIEWED_AT_ONCE):
        if start:  # a usual page is one piece and waits for nobody
            await asyncio.sleep(0)
        views += map(view, rows[start : start + VIEWED_AT_ONCE])
    return views


def foreign_token() -> Problem:
    """A page token that some other list gave out."""
    return errors.invalid_field(422, "page_token", "not a token of this list")


def parse_page(limit: str | None, page_token: str | None, direction: str | None) -> Page:
    """Raises Problem 422 for a limit outside 1..500, a direction that is none, a token that is not ours."""
    # nine digits: more are no page, and Python reads any number of them
    if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) <= 9):
        raise errors.invalid_field(422, "limit", f"a whole number from 1 to {LIMIT_MAX}", limit=LIMIT_MAX)
    count = LIMIT_DEFAULT if limit is None else int(limit)
    if not 1 <= count <= LIMIT_MAX:
        raise errors.invalid_field(422, "limit", f"a whole number from 1 to {LIMIT_MAX}", limit=LIMIT_MAX)
    if direction not in (None, "desc", "asc"):
        raise errors.invalid_field(422, "direction", "desc or asc", allowed=["desc", "asc"])
    return Page(count, None if page_token is None else _open(page_token), direction != "asc")


def _open(token: str) -> str:
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise errors.invalid_field(422, "page_token", "not a token of this API") from error


def seal(key: object) -> str:
    """The token of the page that begins after `key`."""
    return base64.urlsafe_b64encode(str(key).encode()).decode("ascii")
