"""`shardctl`: errors become one line on standard error and an exit code; nothing else happens here."""

import sys
from importlib import import_module

from shardctl.cli import make_app
from shardctl.errors import Interrupted, ShardctlError


def main() -> None:
    try:
        make_app()()
    except ShardctlError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", Interrupted.exit_code)
    except Exception as error:
        # what a command stands on was imported by it; who only wants --help does not pay for it
        known = import_module("shardctl.failures").in_words(error)
        if known is None:
            raise
        _fail(*known)


def _fail(message: str, exit_code: int) -> None:
    import_module("shardctl.output").print_error(message)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
