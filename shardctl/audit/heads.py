"""The head of the audit chain on Kafka: published each hour and at `down`, never deleted there, compared by `verify`.

A head is a fact: who publishes it twice, late, or after another leader took over, says nothing wrong. So nothing fences
it. Who can write to the topic can add a false head, which `verify` then reports; nobody can take a true one back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from infra.backends.topics import AUDIT_HEADS
from infra.runtime.kafka_consumer import TopicReader, TopicsMissing
from infra.runtime.kafka_producer import KafkaProducer, OutgoingMessage
from infra.runtime.settings import KafkaSettings
from shardctl.audit.head import Head, decode_head, encode_head
from shardctl.errors import NotReachable

PUBLISH_S: Final = 10.0
"""A broker that is there answers in milliseconds, one that restarts in four seconds; then it is tried again later."""
PUBLISH_AT_DOWN_S: Final = 3.0
"""Whoever stops a stack does not wait for a broker that is not there; the next `up` publishes within the hour."""


async def publish_head(settings: KafkaSettings, stack: str, head: Head, *, within_s: float = PUBLISH_S) -> None:
    """Raises NotReachable: nothing says that it is there."""
    message = OutgoingMessage(settings.topic_prefix + AUDIT_HEADS, stack.encode(), encode_head(head))
    async with KafkaProducer(settings, "shardctl-audit") as producer:
        try:
            async with asyncio.timeout(within_s):
                refusals = await producer.send_batch([message])
        except TimeoutError as error:
            raise NotReachable(f"Kafka did not take the head of the audit chain: {producer.last_error}") from error
    if refusals:
        raise NotReachable(f"Kafka did not take the head of the audit chain: {refusals[0].reason}")


async def read_heads(settings: KafkaSettings, stack: str) -> tuple[Mapping[int, Sequence[Head]], int]:
    """All that were published for this stack, by number, each hash once with its first time; and how many messages
    retention has deleted. Some two hundred bytes for each row that was ever a head: megabytes after decades. Raises
    BrokerUnreachable, HeadMalformed."""
    found: dict[int, dict[str, Head]] = {}
    try:
        async with TopicReader(settings, [settings.topic_prefix + AUDIT_HEADS]) as reader:
            gone = await reader.count_thrown_away()
            async for batch in reader.read_to_end():
                for record in batch:
                    if record.key == stack.encode():
                        head = decode_head(record.value, f"{record.topic}/{record.partition}@{record.offset}")
                        found.setdefault(head.number, {}).setdefault(head.hash, head)
    except TopicsMissing:
        return {}, 0
    return {number: tuple(heads.values()) for number, heads in found.items()}, gone
