"""The kinds of operations that this release knows, by name. Another release's kind or version is left alone."""

from collections.abc import Mapping
from typing import Final

from shardctl.operations.kinds.backup_create import BACKUP_CREATE
from shardctl.operations.kinds.backup_rehearse import BACKUP_REHEARSE
from shardctl.operations.kinds.cells_add import CELLS_ADD
from shardctl.operations.kinds.cells_archive import CELLS_ARCHIVE
from shardctl.operations.kinds.cells_calendar import CELLS_CALENDAR
from shardctl.operations.kinds.cells_reconcile import CELLS_RECONCILE
from shardctl.operations.kinds.control_prune import CONTROL_PRUNE
from shardctl.operations.kinds.keys_rotate import KEYS_ROTATE
from shardctl.operations.kinds.routers_restart import ROUTERS_RESTART
from shardctl.operations.kinds.users_move import USERS_MOVE
from shardctl.operations.plan import Kind
from shardctl.operations.resources import StackResources

KINDS: Final[Mapping[str, Kind[StackResources]]] = {
    kind.name: kind
    for kind in (
        BACKUP_CREATE,
        BACKUP_REHEARSE,
        CELLS_ADD,
        CELLS_ARCHIVE,
        CELLS_CALENDAR,
        CELLS_RECONCILE,
        CONTROL_PRUNE,
        KEYS_ROTATE,
        ROUTERS_RESTART,
        USERS_MOVE,
    )
}
