"""The Kafka topics of a stack. Pure."""

from typing import Final

from infra.topology.topics import cell_topics

PARTITIONS: Final = 8
"""For ever: the key decides the partition, so another number would break the order of a user's events."""
AUDIT_HEADS: Final = "audit-heads"
"""Heads of the control plane's audit chain, by the name of the stack."""
SHARED_TOPICS: Final = ("executions.forwarded", "market.halts", "corporate-actions", AUDIT_HEADS)


def stack_topics(cells: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """Every topic of a stack with these cells."""
    own = [topic for cell in cells for topic in cell_topics(prefix, cell)]
    return (*(f"{prefix}{name}" for name in SHARED_TOPICS), *own)


def kept_topics(prefix: str) -> tuple[str, ...]:
    """Those whose records the broker must never delete, whatever it does by default."""
    return (f"{prefix}{AUDIT_HEADS}",)
