"""Which cell the map gives a user. The user is named by id or by email; the control database has only a keyed hash of
an email."""

from dataclasses import dataclass
from uuid import UUID

from infra.backends.backend import Backend
from infra.security.email_hash import EmailHasher
from infra.security.keys import EMAIL_PEPPER_FILE, load_key_ring
from infra.topology.bucketing import bucket_of
from infra.topology.identifiers import parse_uuid
from shardctl.errors import Refused
from shardctl.shardmap.store import ShardMapStore, open_store
from shardctl.stack.current import control_dsn


@dataclass(frozen=True, slots=True)
class LocatedUser:
    user_id: UUID
    bucket: int
    cell: str | None
    cell_state: str | None
    pinned: bool
    epoch: int
    api_urls: tuple[str, ...]


async def locate_user(backend: Backend, name: str) -> LocatedUser:
    """As the owner of the control database: on the stack's own machine. Raises as `locate_in`, and NotReachable."""
    async with open_store(control_dsn(backend)) as store:
        return await locate_in(store, backend, name)


async def locate_in(store: ShardMapStore, backend: Backend, name: str) -> LocatedUser:
    """By the newest map. An id is not checked: whether the user exists only the cell knows. Raises Refused for an
    unknown email and a name that is neither."""
    user_id = await _find_id(backend, store, name)
    shard_map = await store.load()
    cell = shard_map.locate(user_id)
    return LocatedUser(
        user_id=user_id,
        bucket=bucket_of(user_id),
        cell=None if cell is None else cell.cell_id,
        cell_state=None if cell is None else cell.state.value,
        pinned=shard_map.is_pinned(user_id),
        epoch=shard_map.epoch,
        api_urls=() if cell is None else cell.api_urls,
    )


async def _find_id(backend: Backend, store: ShardMapStore, name: str) -> UUID:
    if "@" in name:
        hasher = EmailHasher(load_key_ring(backend.keys_folder / EMAIL_PEPPER_FILE))
        user_id = await store.find_by_email(hasher.to_find(name))
        if user_id is None:
            raise Refused(f"nobody signed up as {name}")
        return user_id
    try:
        return parse_uuid(name)
    except ValueError:
        raise Refused(f"{name!r} is neither a user id nor an email") from None


def require_cell(user: LocatedUser) -> str:
    """The cell that the user's bucket or pin names. Raises Refused."""
    if user.cell is None:
        raise Refused(f"no cell serves bucket {user.bucket}, where {user.user_id} belongs")
    return user.cell
