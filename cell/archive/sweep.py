"""Walk the users and archive, in steps of a few milliseconds each, for as long as the caller gives time.

The place where a walk stands is the caller's to keep: it may stop anywhere, and beginning again is harmless. A user
whom somebody else has, or who is being moved, or whose events wait for Kafka, is passed over until the next walk.
Nothing here waits for a lock.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from cell.archive.queries import archive_step, next_users
from infra.runtime.database import Pool

STEP_ENTRIES: Final = 200
"""Entries looked at while a user's lock is held: some ten milliseconds."""
USERS_PAGE: Final = 500
"""Users looked at per statement, each by one step of an index."""


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a walk goes on: beyond this entry of this user, or (0) with the next user."""

    user_id: UUID = UUID(int=0)
    seq: int = 0


class Archived(msgspec.Struct):
    """What a call did, and where the next one goes on; None: the walk is at its end."""

    place: Place | None = None
    unpublished: bool = False
    """Somebody's events that old still wait for Kafka: of that user nothing was moved."""
    users: int = 0
    deferred: int = 0
    """Users whose row was locked or who are halted: left for the next walk."""
    entries: int = 0
    postings: int = 0
    events: int = 0
    executions: int = 0


async def archive(
    pool: Pool, *, before: datetime, place: Place, until_s: float, monotonic: Callable[[], float]
) -> Archived:
    """Go on from `place` until the walk ends or the time is over; one step at least."""
    done = Archived()
    # The call before stopped in the middle of this user.
    if place.seq and not await _archive_user(pool, done, before, place, until_s, monotonic):
        return done
    after = place.user_id
    while True:
        page = await next_users(pool, before=before, after=after, limit=USERS_PAGE)
        for user_id, has_old in page:
            if has_old and not await _archive_user(pool, done, before, Place(user_id), until_s, monotonic):
                return done
            after = user_id
            if monotonic() >= until_s:
                done.place = Place(after)
                return done
        # The last page: the walk has ended.
        if len(page) < USERS_PAGE:
            done.place = None
            return done


async def _archive_user(
    pool: Pool, done: Archived, before: datetime, place: Place, until_s: float, monotonic: Callable[[], float]
) -> bool:
    """False: stop here; `done` says why and where."""
    seq: int | None = place.seq
    moved = done.entries
    while seq is not None:
        step = await archive_step(pool, place.user_id, before=before, after_seq=seq, limit=STEP_ENTRIES)
        done.entries += step.entries
        done.postings += step.postings
        done.events += step.events
        done.executions += step.executions
        done.unpublished |= step.state == "unpublished"
        done.deferred += step.state == "deferred"
        # Deferred, unpublished or done: nothing more of this user in this walk.
        seq = step.last_seq if step.state == "archived" else None
        if seq is not None and monotonic() >= until_s:
            done.place = Place(place.user_id, seq)
            return False
    done.users += done.entries > moved
    return True
