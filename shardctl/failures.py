"""Errors of `infra` and of the shard map that a command may meet: one line and an exit code instead of a traceback.

Imported only after a failure: it imports the database drivers and the broker's client, which `--help` does without.
"""

from collections.abc import Mapping
from typing import Final

from infra.backends.backend import BackendError
from infra.backends.cell_spec import SpecInvalid
from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.migrator import MigrationError
from infra.security.keys import KeyFileInvalid
from shardctl.errors import Exit
from shardctl.shardmap.errors import ShardMapRefused

_EXIT_CODES: Final[Mapping[type[Exception], Exit]] = {
    SpecInvalid: Exit.USAGE,
    BrokerUnreachable: Exit.NOT_REACHABLE,
    BackendError: Exit.FAILED,
    KeyFileInvalid: Exit.FAILED,
    MigrationError: Exit.FAILED,
    ShardMapRefused: Exit.FAILED,
}

_LINES: Final[Mapping[type[Exception], str]] = {
    BrokerUnreachable: "the Kafka broker does not answer: {}",
    KeyFileInvalid: "{}: `shardctl up` makes key files that are missing",
}


def describe_failure(error: Exception) -> tuple[str, Exit] | None:
    """The line and the exit code; None for an unexpected error, which keeps its traceback."""
    for kind, exit_code in _EXIT_CODES.items():
        if isinstance(error, kind):
            return _LINES.get(kind, "{}").format(error), exit_code
    return None
