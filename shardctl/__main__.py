"""`shardctl`: errors become one line on standard error and an exit code; nothing else happens here."""

import sys

from infra.backends.backend import BackendError
from infra.backends.cell_spec import SpecInvalid
from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.migrator import MigrationError
from shardctl.cli import make_app
from shardctl.errors import Interrupted, NotReachable, ShardctlError, UsageError
from shardctl.output import print_error
from shardctl.shardmap.errors import ShardMapRefused


def main() -> None:
    try:
        make_app()()
    except ShardctlError as error:
        _fail(str(error), error.exit_code)
    except SpecInvalid as error:
        _fail(str(error), UsageError.exit_code)
    except BrokerUnreachable as error:
        _fail(f"the Kafka broker does not answer: {error}", NotReachable.exit_code)
    except (BackendError, MigrationError, ShardMapRefused) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", Interrupted.exit_code)


def _fail(message: str, exit_code: int) -> None:
    print_error(message)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
