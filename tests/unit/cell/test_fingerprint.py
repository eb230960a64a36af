"""Two requests have one fingerprint exactly if they ask for the same: over all commands, and over all fields."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cell.accounts.controllers.account import deposit_fingerprint
from cell.caller import Caller
from cell.commands.fingerprint import VERSION, Part, fingerprint
from cell.orders.cancel import cancel_command
from cell.orders.place import place_command
from cell.orders.replace import Changes, replace_fingerprint
from cell.orders.schemas import OrderTerms
from cell.transfers.bring import transfer_fingerprint

CALLER = Caller(uuid.UUID(int=1), 1)
Request = tuple[tuple[Any, ...], bytes]
"""What is asked for, in normal form, and its fingerprint."""

# Few values that look alike, so that pairs often meet: None, its name, digits as a number and as a word.
names = st.none() | st.sampled_from(
    ["None", "null", "1", "1000000", "notional", "day", "AAPL", "\x1f", "1\x1fNone", "", '"', "-1"]
)
micros = st.none() | st.sampled_from([1, 10, 1_000_000, 11, 101])
whole = st.sampled_from([1, 10, 1_000_000, 11, 101])
order_ids = st.sampled_from([uuid.UUID(int=1), uuid.UUID(int=2)])
tifs = st.sampled_from(["day", "gtc"])


def placed(terms: OrderTerms) -> Request:
    return ("place", *asdict(terms).items()), place_command(terms, CALLER, "k").fingerprint


orders = st.builds(
    OrderTerms,
    symbol=st.sampled_from(["AAPL", "None"]),
    side=st.sampled_from(["buy", "sell"]),
    type=st.sampled_from(["market", "limit", "stop", "stop_limit"]),
    time_in_force=tifs,
    order_qty_micros=micros,
    limit_px_micros=micros,
    stop_px_micros=micros,
    client_order_id=names,
    notional_micros=micros,
).map(placed)
changes = st.builds(
    Changes,
    qty_micros=micros,
    limit_px_micros=micros,
    stop_px_micros=micros,
    time_in_force=st.none() | tifs,
    client_order_id=names,
)
versions = st.none() | st.sampled_from([(1,), (1, 2), (2,), (12,), (-1,), (1, 10)])
replaces = st.builds(
    lambda order_id, seen, change: (
        ("replace", order_id, seen, *asdict(change).items()),
        replace_fingerprint(order_id, seen, change),
    ),
    order_ids,
    versions,
    changes,
)
by_name = st.sampled_from(["1", "None", str(uuid.UUID(int=1)), uuid.UUID(int=1).hex])
cancels = st.builds(
    lambda order_id, name: (("cancel", order_id, name), cancel_command(CALLER, "k", order_id, name).fingerprint),
    order_ids,
    st.none(),
) | st.builds(lambda name: (("cancel", name), cancel_command(CALLER, "k", uuid.UUID(int=0), name).fingerprint), by_name)
deposits = st.builds(lambda amount: (("deposit", amount), deposit_fingerprint(amount)), whole)
transfers = st.builds(
    lambda symbol, qty, cost: (("transfer", symbol, qty, cost), transfer_fingerprint(symbol, qty, cost)),
    st.sampled_from(["AAPL", "A1", "A"]),
    whole,
    whole,
)
requests = orders | replaces | cancels | deposits | transfers
NAMELESS = OrderTerms("AAPL", "buy", "market", "day", 1_000_000, None, None, None)


def stored_form(given: bytes) -> bytes:
    assert (len(given), given[:1]) == (33, VERSION)
    return given[:17]


@settings(max_examples=200, deadline=None)
@given(requests, requests)
@example(placed(NAMELESS), placed(replace(NAMELESS, client_order_id="None")))
def test_equal_fingerprints_are_equal_requests_and_the_other_way_round(one: Request, other: Request) -> None:
    assert (stored_form(one[1]) == stored_form(other[1])) == (one[0] == other[0])


parts = (
    st.none()
    | st.integers(-2, 12)
    | st.sampled_from(["", "1", "None", "null", "a", "[1]", '"', "\x1f"])
    | order_ids
    | st.tuples(st.integers(0, 2))
)
fields = st.dictionaries(st.sampled_from(["a", "b", "ab"]), parts, max_size=3)
lines = st.sampled_from([("POST", "/a"), ("POST", "/ab"), ("POSTA", "/"), ("PATCH", "/a"), ("POST", '/a"')])


@settings(max_examples=200, deadline=None)
@given(lines, fields, lines, fields)
def test_no_two_values_run_into_one(
    line: tuple[str, str], some: dict[str, Part], other_line: tuple[str, str], others: dict[str, Part]
) -> None:
    """An absent field is the same as null; everything else differs by name, type or value."""
    make: Callable[..., bytes] = fingerprint
    one, other = make(*line, joined=(), **some), make(*other_line, joined=(), **others)
    assert (stored_form(one) == stored_form(other)) == ((line, _given(some)) == (other_line, _given(others)))


def _given(fields: dict[str, Part]) -> dict[str, tuple[type, Part]]:
    return {name: (type(value), value) for name, value in fields.items() if value is not None}


@settings(max_examples=50, deadline=None)
@given(orders)
def test_the_form_of_the_release_before_is_kept_as_it_was(order: Request) -> None:
    """Its last 16 bytes: keys stored then are found by them."""
    terms = dict(order[0][1:])
    words = [terms[name] for name in ("symbol", "side", "type", "time_in_force", "order_qty_micros", "limit_px_micros")]
    words.append(terms["client_order_id"])
    words += [] if terms["stop_px_micros"] is None else [terms["stop_px_micros"]]
    words += [] if terms["notional_micros"] is None else ["notional", terms["notional_micros"]]
    text = "\x1f".join(("POST", "/v1/orders", *map(str, words)))
    assert order[1][17:] == hashlib.blake2b(text.encode(), digest_size=16).digest()


def test_a_new_field_leaves_the_keys_of_today_valid() -> None:
    make: Callable[..., bytes] = fingerprint
    assert make("POST", "/a", joined=(), x=1) == make("POST", "/a", joined=(), x=1, y=None)
