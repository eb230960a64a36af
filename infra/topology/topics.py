"""The Kafka topics of a cell: what it publishes to, what a stack creates, and what operators' programs read.

The names are for ever: readers of several releases listen at once, and a renamed topic would be one that nobody reads.
Pure, and the only place that spells them.
"""

from typing import Final

ORDER_EVENTS: Final = "order-events"
LEDGER_EVENTS: Final = "ledger-events"


def cell_topic(prefix: str, cell: str, events: str) -> str:
    """The topic of one kind of a cell's events. `prefix` lets several stacks share a broker."""
    return f"{prefix}{cell}.{events}"


def cell_topics(prefix: str, cell: str) -> tuple[str, str]:
    """A cell's topics: of order events, of ledger events."""
    return cell_topic(prefix, cell, ORDER_EVENTS), cell_topic(prefix, cell, LEDGER_EVENTS)
