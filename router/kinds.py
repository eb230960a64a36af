"""What kind a request is, by its method and path: whom it may wait for, and which rate it counts towards. Pure."""

from enum import IntEnum
from typing import Final
from urllib.parse import unquote_to_bytes

_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_ORDERS: Final = b"/v1/orders"
_PREVIEW: Final = b"/v1/orders/preview"
_MAY_BE_ORDERS: Final = frozenset({b"o", b"%"})
"""What follows `/v1/`."""


class Kind(IntEnum):
    """Numbers index the lists that are kept per kind."""

    ORDER = 0
    """Places or replaces an order."""
    OWN_ORDER = 1
    """Cancels, or reads the customer's own orders: who wants out, or to know where they stand, does not wait for those
    who want in."""
    READ = 2
    """Any other read. A preview is one: it writes nothing, though it is a POST."""
    WRITE = 3
    """Any other write: deposits, transfers."""
    IDENTITY = 4
    """A sign-up, login or refresh that the router asks in its own name; never of a customer's request."""

    @property
    def label(self) -> str:
        """Of metrics."""
        return self.name.lower()


# For every request: reading a member of an enumeration costs ten times as much as a name of the module.
_ORDER, _OWN_ORDER, _READ, _WRITE = Kind.ORDER, Kind.OWN_ORDER, Kind.READ, Kind.WRITE
CUSTOMERS: Final = (_ORDER, _OWN_ORDER, _READ, _WRITE)
"""Kinds of what customers ask."""


def kind_of(method: bytes, target: bytes) -> Kind:
    """A path is judged as the cell will read it: without query, closing slash and escapes, so that no spelling of an
    order counts as anything else."""
    if target == _ORDERS and method == b"POST":
        return _ORDER
    if target[4:5] in _MAY_BE_ORDERS:
        path = target.partition(b"?")[0].rstrip(b"/")
        if b"%" in path:
            path = unquote_to_bytes(path)
        if path == _ORDERS or path.startswith(_ORDERS + b"/"):
            if method in _SAFE or method == b"DELETE":
                return _OWN_ORDER
            return _READ if path == _PREVIEW else _ORDER
    return _READ if method in _SAFE else _WRITE
