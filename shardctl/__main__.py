"""`shardctl`: an expected error becomes one line on standard error and an exit code; an unexpected one a traceback.

A shell that completes a line gets its answer before a command is imported: it asks at each press of a key.
"""

import os
import sys
from importlib import import_module

from shardctl.completion.asking import asked_shell
from shardctl.errors import Interrupted, ShardctlError


def main() -> None:
    if (shell := asked_shell(os.environ)) is not None:
        sys.exit(import_module("shardctl.completion.shells").answer(shell))
    try:
        import_module("shardctl.cli").make_app()()
    except ShardctlError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", Interrupted.exit_code)
    except Exception as error:
        # imported here and not above: `--help` must not pay for drivers that only a failed command needs
        known = import_module("shardctl.failures").describe_failure(error)
        if known is None:
            raise
        _fail(*known)


def _fail(message: str, exit_code: int) -> None:
    import_module("shardctl.output").print_error(message)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
