"""Publish a batch and wait for every delivery report.

Idempotent, `acks=all`: in one partition the broker keeps the order of the calls, without holes and without copies made
by retries. A message has no timeout of its own: while Kafka is away the batch waits, and since only one batch is on
its way at a time, memory stays bounded. `send_batch` returns only when each message of the batch was reported, as
delivered or as refused; the caller deletes its source rows from that answer and from nothing else.

After a fatal error of the client library (for example a broker that lost its log) the next batch goes through a new
client; what was unconfirmed is reported as refused. The caller sends it again, so copies are possible and consumers
must drop them by event id. No Kafka transactions, ever: see the outbox's README.
"""

import asyncio
import functools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.runtime.settings import KafkaSettings

_log = logging.getLogger(__name__)

BATCH_MESSAGES_MAX = 10_000
"""Also the limit of the client's own queue: one batch always fits, a second is never accepted beside it."""
_POLL_S = 0.1
"""The longest that the polling thread takes to see that it should stop; a delivery report ends the wait."""
_CLOSE_S = 5.0
"""For what is queued, when the process ends. What is left is still in its source, and is sent again."""


class OutgoingMessage(NamedTuple):
    """One message, to a full topic name."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True)
class Refusal:
    """A message of the batch that was not delivered, by its index in the batch."""

    index: int
    reason: str


def producer_config(settings: KafkaSettings, client_id: str) -> dict[str, str | int | float | bool]:
    """librdkafka's settings; its defaults are not safe for us (idempotence is off there)."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": client_id,
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "partitioner": "murmur2_random",
        "compression.type": "zstd",
        "linger.ms": 1,
        "queue.buffering.max.messages": BATCH_MESSAGES_MAX,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        "retry.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": 60_000,
        "log.connection.close": False,
    }


class _Reports:
    """Counts the delivery reports of one batch, in the polling thread, and wakes the waiting task once."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.refusals: list[Refusal] = []
        self.fatal = False
        self.all_in: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._missing = size

    def report(self, index: int, error: KafkaError | None, _message: Message | None = None) -> None:
        if error is not None:
            self.refusals.append(Refusal(index, f"{error.name()}: {error.str()}"))
            self.fatal = self.fatal or error.fatal()
        self._missing -= 1
        if self._missing == 0:
            # Reports come in the polling thread.
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.all_in.done():
            self.all_in.set_result(None)


class KafkaProducer:
    """One client, one polling thread, one batch at a time."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._config = producer_config(settings, client_id)
        self._one_batch = asyncio.Lock()
        self._client: Producer | None = None
        self._poller: threading.Thread | None = None
        self._stop = threading.Event()
        self._last_error: str | None = None

    async def __aenter__(self) -> "KafkaProducer":
        self._open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self._close)

    @property
    def last_error(self) -> str | None:
        """What the client complained about since the last batch that was delivered whole."""
        return self._last_error

    async def send_batch(self, messages: Sequence[OutgoingMessage]) -> list[Refusal]:
        """Send in the order given and wait for all reports, as long as it takes; the refused, in order of the batch.
        Raises ValueError for too large a batch."""
        if len(messages) > BATCH_MESSAGES_MAX:
            raise ValueError(f"a batch has at most {BATCH_MESSAGES_MAX} messages, not {len(messages)}")
        if not messages:
            return []
        async with self._one_batch:
            if self._client is None:
                self._open()
            assert self._client is not None
            reports = _Reports(len(messages), asyncio.get_running_loop())
            self._produce(self._client, messages, reports)
            await reports.all_in
            if reports.fatal:
                _log.error("kafka client failed fatally; opening another", extra={"reason": self._last_error})
                await asyncio.to_thread(self._close)
            elif not reports.refusals:
                self._last_error = None
            return sorted(reports.refusals, key=lambda refusal: refusal.index)

    @staticmethod
    def _produce(client: Producer, messages: Sequence[OutgoingMessage], reports: _Reports) -> None:
        """Queue the batch. What follows a refused message under the same key is refused too: order before speed."""
        closed_keys: set[bytes] = set()
        for index, message in enumerate(messages):
            if message.key in closed_keys:
                reports.report(index, KafkaError(KafkaError._PURGE_QUEUE, "an earlier message of this key was refused"))
                continue
            headers: list[tuple[str, str | bytes | None]] = [*message.headers]
            try:
                client.produce(
                    message.topic,
                    message.value,
                    message.key,
                    on_delivery=functools.partial(reports.report, index),
                    headers=headers,
                )
            except KafkaException as error:  # before it was queued: too large, or the client is dead
                closed_keys.add(message.key)
                reports.report(index, error.args[0])
            except BufferError:  # only left-overs of a batch whose waiter was cancelled can fill the queue
                closed_keys.add(message.key)
                reports.report(index, KafkaError(KafkaError._QUEUE_FULL))

    def _open(self) -> None:
        self._stop = threading.Event()
        self._client = Producer({**self._config, "error_cb": self._complain}, logger=_log)
        self._poller = threading.Thread(
            target=_poll_until, args=(self._client, self._stop), name="kafka-producer-poll", daemon=True
        )
        self._poller.start()

    def _complain(self, error: KafkaError) -> None:
        self._last_error = f"{error.name()}: {error.str()}"

    def _close(self) -> None:
        """Give what is queued a last chance, then forget it: its source rows are still there."""
        if self._client is None or self._poller is None:
            return
        # Without a broker waiting is in vain.
        left = self._client.flush(_CLOSE_S) if self._last_error is None else len(self._client)
        if left:
            self._client.purge()
            _log.warning("kafka client closed with unconfirmed messages", extra={"messages": left})
        self._stop.set()
        self._poller.join(_CLOSE_S)
        self._client = None


def _poll_until(client: Producer, stop: threading.Event) -> None:
    while not stop.is_set():
        client.poll(_POLL_S)
