"""What the commands about events have in common: the broker of a cell, and what is said when it does not answer."""

from infra.runtime.settings import KafkaSettings
from shardctl.errors import NotReachable, Refused
from shardctl.stack.broker import kafka_of
from shardctl.stack.current import open_stack


def kafka_settings(cell: str) -> KafkaSettings:
    """Raises Refused, NotReachable."""
    stack = open_stack()
    names = [known.name for known in stack.spec().cells]
    if cell not in names:
        raise Refused(f"there is no cell {cell}; there are: {', '.join(names)}")
    return kafka_of(stack)


def not_reachable(error: Exception) -> NotReachable:
    return NotReachable(f"Kafka: {error}: `shardctl status`, `shardctl logs kafka`")
