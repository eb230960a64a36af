"""The orders in memory: those that can still change. The others are found in the log.

Memory is a cache: what was changed is written with the next batch, and an order that ended is forgotten after that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from exchange.live_order import LiveOrder
from exchange.log_rows import OrderRow


class LiveOrders:
    """Of one exchange, with how many there are in each status, ended ones included."""

    def __init__(self, find_in_log: Callable[[str], OrderRow | None]) -> None:
        self._find_in_log = find_in_log
        self._orders: dict[str, LiveOrder] = {}
        self._dirty: dict[str, LiveOrder] = {}
        self._by_status: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[LiveOrder]:
        return iter(self._orders.values())

    def restore(self, rows: Iterable[OrderRow], by_status: Mapping[str, int]) -> None:
        """Take up what the log remembers."""
        self._by_status.update(by_status)
        for row in rows:
            self._orders[row.terms.cl_ord_id] = LiveOrder.from_row(row)

    def live(self, cl_ord_id: str) -> LiveOrder | None:
        """An order that can still change."""
        return self._orders.get(cl_ord_id)

    def find(self, cl_ord_id: str) -> LiveOrder | None:
        """Any order that ever came."""
        order = self._orders.get(cl_ord_id)
        if order is None:
            row = self._find_in_log(cl_ord_id)
            order = None if row is None else LiveOrder.from_row(row)
        return order

    def add(self, order: LiveOrder) -> None:
        """A new one."""
        self._orders[order.terms.cl_ord_id] = order
        self._by_status[order.ord_status] += 1
        self.touch(order)

    def touch(self, order: LiveOrder) -> None:
        """It changed: the next batch writes it."""
        self._dirty[order.terms.cl_ord_id] = order

    def set_status(self, order: LiveOrder, ord_status: str) -> None:
        """Another status."""
        self._by_status[order.ord_status] -= 1
        self._by_status[ord_status] += 1
        order.ord_status = ord_status

    def by_status(self) -> dict[str, int]:
        """How many there are in each status."""
        return {status: count for status, count in sorted(self._by_status.items()) if count}

    @property
    def pending_count(self) -> int:
        """Orders that wait to be written."""
        return len(self._dirty)

    def take(self) -> list[OrderRow]:
        """Every order that changed since the last call."""
        rows = [order.row() for order in self._dirty.values()]
        self._dirty = {}
        return rows

    def forget_ended(self, rows: Iterable[OrderRow]) -> None:
        """These are durable: those that ended need no memory any more."""
        for row in rows:
            if not row.live and row.terms.cl_ord_id not in self._dirty:
                self._orders.pop(row.terms.cl_ord_id, None)
