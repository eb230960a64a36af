"""What happens next: planned steps by their time, requests that are looked at later, waiting orders by their price.

Nothing here is durable: plans lie in their orders, and whoever restarts puts the orders here again. An entry may be out
of date when its time comes (the order ended, or was planned anew); whoever takes it looks at the order.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from itertools import count

from exchange.live_order import LiveOrder
from exchange.paper import is_marketable, worst_px
from exchange.wire import Cancel, Replace

Request = Cancel | Replace


class Schedule:
    """Of one exchange."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, str]] = []
        self._delayed: list[tuple[int, int, str, Request]] = []
        self._waiting: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._tie = count()

    def put(self, order: LiveOrder) -> None:
        """Its next step at its time, or its price if it has no step and waits."""
        if order.steps:
            if order.steps[0].kind == "reduce":
                return  # goes on when the replacement comes
            heapq.heappush(self._due, (order.steps[0].at_us, next(self._tie), order.terms.cl_ord_id))
        elif order.waits:
            terms = order.terms
            priority = -worst_px(terms) if terms.side == "buy" else worst_px(terms)
            heapq.heappush(self._waiting.setdefault((terms.symbol, terms.side), []), (priority, terms.cl_ord_id))

    def delay(self, at_us: int, session: str, request: Request) -> None:
        """Look at a request at that time."""
        heapq.heappush(self._delayed, (at_us, next(self._tie), session, request))

    def move_requests(self, at_us: Callable[[int, Request], int]) -> None:
        """Each delayed request gets the time that `at_us` says; among equals the first stays first."""
        self._delayed = [
            (at_us(then_us, request), tie, session, request) for then_us, tie, session, request in self._delayed
        ]
        heapq.heapify(self._delayed)

    def next_us(self) -> int | None:
        """When the next of them is due."""
        return min((entries[0][0] for entries in (self._due, self._delayed) if entries), default=None)

    def take_order(self, at_us: int) -> str | None:
        """An order whose step is due at that very time, steps before requests."""
        return heapq.heappop(self._due)[2] if self._due and self._due[0][0] == at_us else None

    def take_request(self) -> tuple[str, Request]:
        """The next request, with its session."""
        _, _, session, request = heapq.heappop(self._delayed)
        return session, request

    def reached(self, prices: Mapping[str, int]) -> Iterator[str]:
        """Waiting orders whose limit one of these prices reaches; they wait no more."""
        for (symbol, side), waiting in self._waiting.items():
            last_px = prices.get(symbol)
            while last_px is not None and waiting and is_marketable(side, abs(waiting[0][0]), last_px):
                yield heapq.heappop(waiting)[1]
