"""What is known of a user's moves, and the receipts of an operation's: read from the control database, and proven."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from infra.backends.backend import Backend
from infra.security.certificate import Certificate
from infra.security.signed_document import PublicKeys, public_keys_of
from shardctl.errors import Refused
from shardctl.moves.queries import Hold, RecordedMove, open_move_records
from shardctl.moves.receipt import SIGNER, own_public_keys, read_public_keys, verify_receipt
from shardctl.shardmap.locate import LocatedUser, locate_user
from shardctl.shardmap.store import open_store
from shardctl.stack.current import control_dsn


@dataclass(frozen=True, slots=True)
class UserHistory:
    located: LocatedUser
    hold: Hold | None
    moves: Sequence[RecordedMove]
    """Newest first."""


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    text: str
    claims: dict[str, Any]
    certificate: Certificate


async def history_of(backend: Backend, name: str) -> UserHistory:
    """By id or email. Raises Refused, NotReachable."""
    located = await locate_user(backend, name)
    async with open_move_records(control_dsn(backend)) as records:
        holds = await records.holds([located.user_id])
        return UserHistory(located, holds[0] if holds else None, await records.of_user(located.user_id))


async def receipts_of(backend: Backend, operation: int, user: UUID | None) -> list[ProvenReceipt]:
    """Of everybody whom the operation moved, or of one of them; verified with the stack's own keys. Raises Refused if
    there are none, NotReachable, DocumentRefused."""
    async with open_move_records(control_dsn(backend)) as records:
        found = [move for move in await records.of_operation(operation) if user in (None, move.user_id)]
    if not found:
        of = f" of {user}" if user else ""
        raise Refused(f"operation {operation} has no receipt{of}: `shardctl operations show {operation}`")
    keys = await public_keys(backend)
    return [ProvenReceipt(move.receipt, *verify_receipt(keys, move.receipt)) for move in found]


async def public_keys(backend: Backend) -> PublicKeys:
    """Of all who sign: the cells of the map, and the control service. Raises NotReachable, KeyFileInvalid."""
    async with open_store(control_dsn(backend)) as store:
        cells = public_keys_of((await store.load()).cells)
    own = read_public_keys({SIGNER: own_public_keys(backend.keys_folder)})
    return PublicKeys({**cells.keys, **own.keys})
