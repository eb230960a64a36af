"""The demo's plan is reproducible and stays inside what its customers own."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.demo.order_mix import CommandKind, CustomerScript, write_scripts
from loadtests.figures import MICROS, from_wire

PRICES = {"AAPL": 228_500_000, "KO": 68_400_000, "SNDL": 930_000}


@given(seed=st.integers(0, 1_000_000))
def test_the_same_seed_gives_the_same_orders(seed: int) -> None:
    first = write_scripts(seed, customers=3, orders=30, prices_micros=PRICES)
    assert first == write_scripts(seed, customers=3, orders=30, prices_micros=PRICES)


@given(seed=st.integers(0, 1_000_000))
def test_every_script_stays_inside_its_means(seed: int) -> None:
    for script in write_scripts(seed, customers=4, orders=80, prices_micros=PRICES):
        _check_means(script)


def _check_means(script: CustomerScript) -> None:
    owned = {holding.symbol: holding.qty_micros for holding in script.holdings}
    sold: Counter[str] = Counter()
    spent_micros = 0
    for command in script.commands:
        if command.kind not in (CommandKind.PLACE, CommandKind.PLACE_TOO_LARGE):
            continue
        if "notional" in command.body:
            amount_micros = from_wire(command.body["notional"])
            assert amount_micros >= MICROS
            assert amount_micros % 10_000 == 0
            spent_micros += amount_micros
            continue
        qty_micros = from_wire(command.body["qty"])
        assert qty_micros > 0
        reference_micros = PRICES[str(command.body["symbol"])]
        if "limit_price" in command.body:
            limit_micros = from_wire(command.body["limit_price"])
            assert abs(limit_micros - reference_micros) * 20 <= reference_micros + 20 * 10_000, "inside the price band"
            assert limit_micros % (10_000 if limit_micros >= MICROS else 100) == 0
        if command.kind is CommandKind.PLACE_TOO_LARGE:
            assert qty_micros * reference_micros // MICROS > script.cash_micros
        elif command.body["side"] == "sell":
            sold[str(command.body["symbol"])] += qty_micros
        else:
            spent_micros += qty_micros * reference_micros * 106 // 100 // MICROS
    assert spent_micros <= script.cash_micros
    assert all(owned.get(symbol, 0) >= qty_micros for symbol, qty_micros in sold.items())


def test_the_mix_holds_every_kind_of_command() -> None:
    scripts = write_scripts(1, customers=200, orders=3_000, prices_micros=PRICES)
    kinds = Counter(command.kind for script in scripts for command in script.commands)
    bodies = [command.body for script in scripts for command in script.commands if command.kind is CommandKind.PLACE]
    assert kinds[CommandKind.PLACE] + kinds[CommandKind.PLACE_TOO_LARGE] > 2_900
    assert all(kinds[kind] > 5 for kind in CommandKind)
    assert {(body["side"], body["type"]) for body in bodies} == {
        ("buy", "market"),
        ("buy", "limit"),
        ("sell", "market"),
        ("sell", "limit"),
    }


def test_without_prices_there_is_nothing_to_trade() -> None:
    with pytest.raises(ValueError, match="no symbol has a reference price"):
        write_scripts(1, customers=1, orders=1, prices_micros={})
