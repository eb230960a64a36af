"""What the client library is told: its own defaults would lose or reorder events."""

from infra.runtime.kafka_producer import BATCH_MESSAGES_MAX, producer_config
from infra.runtime.settings import KafkaSettings


def test_the_producer_is_idempotent_patient_and_bounded() -> None:
    config = producer_config(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "client")
    assert config["enable.idempotence"] is True
    assert config["acks"] == "all"
    assert config["message.timeout.ms"] == 0, "a message given up in the middle would be a hole in a user's order"
    assert config["partitioner"] == "murmur2_random", "the same partition as every other client of these topics"
    assert config["queue.buffering.max.messages"] == BATCH_MESSAGES_MAX
