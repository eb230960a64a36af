"""The broker of a stack, for those who ask it."""

from infra.backends.backend import Backend
from infra.runtime.settings import KafkaSettings


def kafka_of(backend: Backend) -> KafkaSettings:
    """The broker of a stack."""
    addresses = backend.addresses()
    return KafkaSettings(bootstrap_servers=addresses.kafka, topic_prefix=addresses.spec.topic_prefix)
