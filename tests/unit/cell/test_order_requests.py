"""An order request is understood exactly, or refused with the field that is wrong."""

import json

import pytest

from cell.orders.schemas import parse_order
from infra.runtime.problem import Problem

GOOD = {"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1.5", "limit_price": 585.33}


def test_a_good_order_is_normalised() -> None:
    terms = parse_order(json.dumps(GOOD).encode())
    assert (terms.order_qty_micros, terms.limit_px_micros, terms.time_in_force) == (1_500_000, 585_330_000, "day")


def test_stops_name_their_prices() -> None:
    stop = {key: value for key, value in GOOD.items() if key != "limit_price"} | {"type": "stop", "stop_price": "90.10"}
    terms = parse_order(json.dumps(stop).encode())
    assert (terms.limit_px_micros, terms.stop_px_micros) == (None, 90_100_000)
    both = parse_order(json.dumps({**GOOD, "type": "stop_limit", "stop_price": "90.10"}).encode())
    assert (both.limit_px_micros, both.stop_px_micros) == (585_330_000, 90_100_000)
    for kind in ("stop", "stop_limit"):
        with pytest.raises(Problem) as caught:
            parse_order(json.dumps({**GOOD, "type": kind}).encode())
        assert caught.value.figures["field"] in ("stop_price", "limit_price")


@pytest.mark.parametrize("field", ["symbol", "side", "type", "qty", "limit_price"])
def test_a_missing_field_is_named(field: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != field}
    with pytest.raises(Problem) as caught:
        parse_order(json.dumps(body).encode())
    assert (caught.value.status, caught.value.figures["field"]) == (400, field)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": "aapl"}, "symbol"),
        ({"symbol": "A" * 13}, "symbol"),
        ({"symbol": "A\x00"}, "symbol"),
        ({"symbol": "AAPL\n"}, "symbol"),
        ({"client_order_id": "abc\n"}, "client_order_id"),
        ({"side": "hold"}, "side"),
        ({"type": "peg"}, "type"),
        ({"stop_price": "5"}, "stop_price"),
        ({"type": "stop", "stop_price": "5"}, "limit_price"),
        ({"time_in_force": "never"}, "time_in_force"),
        ({"qty": "-1"}, "qty"),
        ({"qty": 0}, "qty"),
        ({"qty": "1.0000001"}, "qty"),
        ({"qty": 18446744073709551616}, "qty"),
        ({"limit_price": "585.333"}, "limit_price"),
        ({"client_order_id": ""}, "client_order_id"),
        ({"client_order_id": "a b"}, "client_order_id"),
        ({"client_order_id": "a/b"}, "client_order_id"),
        ({"client_order_id": ".."}, "client_order_id"),
        ({"type": "market"}, "limit_price"),
        ({"notional": "5"}, "notional"),
        ({"type": "stop", "stop_price": "5", "limit_price": None, "qty": None, "notional": "5"}, "notional"),
        ({"qty": None, "notional": "0.999999"}, "notional"),
        ({"qty": None, "notional": "10000000000.01"}, "notional"),
        ({"qty": None, "notional": "-5"}, "notional"),
        ({"limit_prize": "5"}, "limit_prize"),
        ({"symbol": 5}, "symbol"),
    ],
)
def test_what_is_understood_and_refused_is_422_with_its_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_order(json.dumps({**GOOD, **change}).encode())
    assert (caught.value.status, caught.value.code, caught.value.figures["field"]) == (422, "INVALID_FIELD", field)


ONCE = '{"symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1", "limit_price": 5, %s}'


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('"side": "sell"', "side"),
        ('"side": "buy"', "side"),
        (r'"\u0073ide": "sell"', "side"),
        ('"qty": null', "qty"),
        ('"time_in_force": "day", "client_order_id": "a,b", "qty": 2', "qty"),
        ('"client_order_id": "a", "client_order_id": "b"', "client_order_id"),
    ],
)
def test_a_field_that_is_there_twice_is_refused(more: str, field: str) -> None:
    """A reader who takes the first and one who takes the last would see two orders."""
    with pytest.raises(Problem) as caught:
        parse_order((ONCE % more).encode())
    assert (caught.value.status, caught.value.figures["field"]) == (400, field)


@pytest.mark.parametrize("name", ["a,b", ",", "a:,b", '"side":1,"side":2'])
def test_a_comma_in_a_name_is_no_second_field(name: str) -> None:
    assert parse_order((ONCE % f'"client_order_id": {json.dumps(name)}').encode()).client_order_id == name


@pytest.mark.parametrize(
    "qty", ["[1, 2]", "[" * 9_000 + ", " + "]" * 9_000, "9" * 5_000 + ", " + '"x": 1', "[\xff, 1]"]
)
def test_what_an_amount_hides_is_no_way_to_break_the_reader(qty: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_order((ONCE % f'"stop_price": {qty}').encode("latin-1"))
    assert caught.value.status in (400, 422)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"qty": NaN}', b"\xff\xfe", b"[" * 5_000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Problem) as caught:
        parse_order(raw)
    assert caught.value.status in (400, 422)
