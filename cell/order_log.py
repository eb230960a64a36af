"""Which orders leave a line in the log at each of their steps: one in so many, the same ones in every process.

The choice is the order id's alone, so whoever finds an order in an app server's log (with the request and trace id of
the command) finds it in the worker's and in the relay's. Nothing is stored for it: the order path has no column for a
request's id, and where the request is not known the order's, its client's and its user's ids stand in the line.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

ONE_IN: Final = 100
"""As in the router's access log. A line costs some 25 microseconds, an order's share of it a quarter of one."""
_RANDOM_BITS: Final = 0xFFFF_FFFF
_RANDOM_DIGITS: Final = 8
"""The end of an order id is random, whatever its version; these many hex digits of it are as many bits."""


@dataclass(frozen=True, slots=True)
class OrderLog:
    """Asked for every step of every order."""

    one_in: int = ONE_IN

    def picks(self, order_id: UUID) -> bool:
        return (order_id.int & _RANDOM_BITS) % self.one_in == 0

    def picks_text(self, order_id: str) -> bool:
        """As `picks`, of an id in its one spelling."""
        return int(order_id[-_RANDOM_DIGITS:], 16) % self.one_in == 0


EVERY_HUNDREDTH: Final = OrderLog()
"""What the settings say unless told otherwise."""
