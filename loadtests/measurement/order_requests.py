"""Orders as bytes, made before the clock runs: in the requests of one customer only the idempotency key differs."""

from loadtests.figures import to_wire
from loadtests.measurement.load_result import RequestOf
from loadtests.measurement.raw_http import build_request

_KEY_MARK = "KEY-OF-THIS-REQUEST"


def limit_buy(symbol: str, price_micros: int) -> bytes:
    """An order for one share, as the wire has it."""
    return (
        f'{{"symbol":"{symbol}","side":"buy","type":"limit","qty":"1","limit_price":"{to_wire(price_micros)}",'
        '"time_in_force":"day"}'
    ).encode()


def order_around_key(url: str, headers: dict[str, str], body: bytes) -> tuple[bytes, bytes]:
    """An order before and after its idempotency key; only the key differs from one request to the next."""
    request = build_request("POST", f"{url}/v1/orders", {**headers, "X-Idempotency-Key": _KEY_MARK}, body)
    before, _, after = request.partition(_KEY_MARK.encode())
    return before, after


def orders_round_robin(heads: list[tuple[bytes, bytes]], connections: int | None, name: str) -> RequestOf:
    """Each connection serves customers of its own in turn; None: one customer on each. Keys begin with `name`."""
    connections = connections or len(heads)
    turns = len(heads) // connections

    def request_of(lane: int, number: int) -> bytes:
        before, after = heads[lane + connections * (number % turns)]
        return b"%b%b-%d%b" % (before, name.encode(), number, after)

    return request_of
