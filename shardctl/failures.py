"""Which failure of what a command stands on ends it with which exit code, in one line instead of a traceback.

Imported when something failed, and not before: it knows the database drivers and the broker's client.
"""

from typing import Final

from infra.backends.backend import BackendError
from infra.backends.cell_spec import SpecInvalid
from infra.runtime.kafka_admin import BrokerUnreachable
from infra.runtime.migrator import MigrationError
from shardctl.errors import NotReachable, Refused, UsageError
from shardctl.shardmap.errors import ShardMapRefused

_EXIT_CODES: Final[dict[type[Exception], int]] = {
    SpecInvalid: UsageError.exit_code,
    BrokerUnreachable: NotReachable.exit_code,
    BackendError: Refused.exit_code,
    MigrationError: Refused.exit_code,
    ShardMapRefused: Refused.exit_code,
}


def in_words(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code; None for what nobody expected, which keeps its traceback."""
    for kind, exit_code in _EXIT_CODES.items():
        if isinstance(error, kind):
            said = f"the Kafka broker does not answer: {error}" if kind is BrokerUnreachable else str(error)
            return said, exit_code
    return None
