"""The kinds of operations that this release knows, by name. Another release's kind or version is left alone."""

from collections.abc import Mapping
from typing import Final

from shardctl.operations.kinds.routers_restart import ROUTERS_RESTART
from shardctl.operations.plan import Kind
from shardctl.operations.world import StackWorld

KINDS: Final[Mapping[str, Kind[StackWorld]]] = {kind.name: kind for kind in (ROUTERS_RESTART,)}
