"""Where this user's stacks are remembered. Of its own, because completion asks and imports little."""

import os
from pathlib import Path


def state_root() -> Path:
    """Unless `SHARDCTL_STATE_DIR` says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/cell-brokerage")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "cell-brokerage"
