"""The user on whose behalf a request is worked on, kept in its context beside its budget (`deadline.py`).

A pool that gives each user a share finds the user here, without being handed one. Work that many users' requests share
(a batch of commands) is on behalf of nobody.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

_user_id: ContextVar[UUID | None] = ContextVar("on_behalf_of", default=None)


@contextmanager
def on_behalf_of(user_id: UUID | None) -> Iterator[None]:
    """What is done in here is done for that user."""
    token = _user_id.set(user_id)
    try:
        yield
    finally:
        _user_id.reset(token)


def user_id() -> UUID | None:
    """Of the request that this task works on; None for work of nobody, or of many."""
    return _user_id.get()
