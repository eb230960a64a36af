"""Which accounts belong to which of Locust's workers. Pure."""

from collections import Counter
from collections.abc import Mapping

from loadtests.load.customer_classes import BY_NAME


def first_accounts(customers: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """From each worker's customers by Locust class to the number of its first account of each of our classes."""
    taken: Counter[str] = Counter()
    first: dict[str, dict[str, int]] = {}
    for worker, classes in customers.items():
        first[worker] = {name: taken[name] for name in BY_NAME}
        taken.update({customer_class_of(name): count for name, count in classes.items()})
    return first


def customer_class_of(locust_class: str) -> str:
    """FomoBuyer -> fomo-buyer."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in locust_class).lstrip("-")
