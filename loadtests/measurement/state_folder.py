"""Where a stack keeps its keys and passwords, by the same rule as `shardctl`.

Only measurements ask: a customer reads no key.
"""

import os
from pathlib import Path

from loadtests.operator_view import OperatorView


async def keys_folder(view: OperatorView) -> Path:
    return await state_folder(view) / "keys"


async def state_folder(view: OperatorView) -> Path:
    """Where the stack keeps its keys and passwords; the same rule as `shardctl` follows."""
    return folder_of(str((await view.json("status"))["stack"]))


def folder_of(stack: str) -> Path:
    if given := os.environ.get("SHARDCTL_STATE_DIR"):
        return Path(given).expanduser().absolute() / stack
    if os.geteuid() == 0:
        return Path("/var/lib/cell-brokerage") / stack
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "cell-brokerage" / stack
