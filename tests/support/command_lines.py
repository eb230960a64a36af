"""Each command of `shardctl` with the words that it needs to be understood."""

from pathlib import Path
from typing import Final

USER, TRANSFER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
_FILE = str(Path(__file__))
ARGUMENTS: Final[dict[str, list[str]]] = {
    "audit list": [], "audit verify": [], "audit export": ["f"],
    "cells list": [], "cells add": ["--reason", "x"], "cells cordon": ["cell-1", "--reason", "x"],
    "cells uncordon": ["cell-1", "--reason", "x"], "cells summary": ["cell-1"], "cells check": ["cell-1"],
    "cells quarantine": ["cell-1"], "cells reconcile": ["--all"], "cells reconciliations": ["cell-1"],
    "cells archive": ["--all", "--reason", "x"], "cells rollups": ["cell-1"],
    "cells retry-report": ["cell-1", "7", "--reason", "x"],
    "cells restored-users": ["cell-1"], "cells release-users": ["cell-1", "--all", "--reason", "x"],
    "cells unfence": ["cell-1", "--reason", "x"], "backup create": ["--all"], "backup list": [], "backup verify": [],
    "backup prune": ["--keep", "3"], "backup rehearse": ["cell-1"],
    "backup restore": ["--cell", "cell-1", "--to", "latest", "--reason", "x"],
    "events tail": ["--cell", "cell-1"], "events count": ["--cell", "cell-1"],
    "exchange load-tape": [_FILE, "--symbol", "AAPL", "--run", "one"], "exchange tapes": [], "exchange summary": [],
    "keys list": [], "keys check": [], "keys rotate": ["--reason", "x"], "map show": [], "map publish": [],
    "routers list": [], "routers restart": [], "transfers list": [],
    "transfers approve": [USER, TRANSFER, "--reason", "x"], "transfers refuse": [USER, TRANSFER, "--reason", "x"],
    "users locate": [USER], "users show": [USER], "users set-profile": [USER, "retail", "--reason", "x"],
    "users unrestrict": [USER, "--reason", "x"], "users revoke": [USER, "--reason", "x"],
    "users move": [USER, "--to", "cell-2", "--reason", "x"], "users move-back": ["17", "--reason", "x"],
    "users hold": [USER, "--reason", "x"], "users unhold": [USER, "--reason", "x"], "users history": [USER],
    "users receipt": ["17"], "users verify": [USER], "keys public": [],
    "status": [], "logs": [],
}  # fmt: skip
"""What each command needs to be understood. One that is missing here fails, until somebody has thought about it."""
WITHOUT_A_STACK: Final = {
    "up", "down", "doctor", "version", "login", "logout", "whoami", "config show", "help exit-codes",
    "operations list", "operations show", "operations watch", "operations cancel", "operations resume",
    "operations approve", "operations explain", "schedules list",
    "context list", "context use", "context add", "context remove", "context show",
}  # fmt: skip
"""They work without one, or ask the control service, wherever it is."""
