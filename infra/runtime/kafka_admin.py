"""Topics of a broker, and whether it answers. Used by whoever runs a stack, never on the order path.

Topics are created here and nowhere else: brokers are configured not to create any by accident. The client's library is
imported with the first question: back ends stand on this module, so every command does, and most ask no broker.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

_ASK_TIMEOUT_S = 2.0
"""Of one question; a broker that is up answers in milliseconds."""
_PAUSE_S = 0.1
"""Between two questions to a broker that is still starting; a refused connection comes back at once."""
_KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""Of a topic whose records stay for ever: nothing is compacted, and no record is too old or too much."""
_BROKER_DEFAULT = -1  # replication as the broker is set up: 1 locally, 3 in production


class BrokerUnreachable(Exception):
    """The broker did not answer within the limit."""


def _client(bootstrap_servers: str) -> "AdminClient":
    from confluent_kafka.admin import AdminClient

    # While a broker starts, librdkafka would log each refused connection.
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 200})


def _await_metadata(client: "AdminClient", timeout_s: float) -> set[str]:
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return set(client.list_topics(timeout=_ASK_TIMEOUT_S).topics)
        except KafkaException as error:
            if time.monotonic() >= deadline:
                raise BrokerUnreachable(str(error)) from error
            time.sleep(_PAUSE_S)


def _ensure_topics(
    bootstrap_servers: str, names: Sequence[str], kept: Sequence[str], partitions: int, timeout_s: float
) -> tuple[str, ...]:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.cimpl import NewTopic

    client = _client(bootstrap_servers)
    present = _await_metadata(client, timeout_s)
    missing = [name for name in names if name not in present]
    if not missing:
        return ()
    wanted = [
        NewTopic(
            name,
            num_partitions=partitions,
            replication_factor=_BROKER_DEFAULT,
            config=_KEPT if name in kept else {},
        )
        for name in missing
    ]
    for future in client.create_topics(wanted, operation_timeout=timeout_s).values():
        try:
            future.result(timeout=timeout_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return tuple(missing)


async def broker_topics(bootstrap_servers: str, timeout_s: float) -> frozenset[str]:
    """Names of all topics; raises BrokerUnreachable. Metadata, not a listening port, says that a broker works."""
    return frozenset(await asyncio.to_thread(_await_metadata, _client(bootstrap_servers), timeout_s))


async def ensure_topics(
    bootstrap_servers: str, names: Sequence[str], *, partitions: int, timeout_s: float, kept: Sequence[str] = ()
) -> tuple[str, ...]:
    """Create those that are missing; returns their names. Of those in `kept` the broker deletes no record. Never
    changes an existing topic."""
    return await asyncio.to_thread(_ensure_topics, bootstrap_servers, names, kept, partitions, timeout_s)
