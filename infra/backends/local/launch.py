"""Become the process that a launch file describes: its command, with its settings. Run as a script, once per start.

supervisord knows only this script and the file's name. So a process that starts, for whatever reason, takes the
settings that were written last, supervisord's own configuration stays as it is when settings change, and a process
that reloads itself (a router, on its listening socket) takes new settings in the same way. Standard library only,
because each start of each process pays for it.
"""

import json
import os
import sys

DIGEST = "CELL_BROKERAGE_LAUNCHED"
"""Says in the process's own environment which launch file it has become."""
_TAKEN = "CELL_BROKERAGE_SETTINGS"
"""The names of the settings that came from a launch file: the next one may not have them any more."""


def next_environment(before: dict[str, str], settings: dict[str, str], digest: str) -> dict[str, str]:
    """Settings over what was inherited, without those of an earlier launch."""
    earlier = before.get(_TAKEN, "").split()
    kept = {name: value for name, value in before.items() if name not in earlier}
    return {**kept, **settings, DIGEST: digest, _TAKEN: " ".join(sorted(settings))}


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        launch = json.load(file)
    command = launch["command"]
    os.execvpe(command[0], command, next_environment(dict(os.environ), launch["settings"], launch["digest"]))


if __name__ == "__main__":
    main(sys.argv[1])
