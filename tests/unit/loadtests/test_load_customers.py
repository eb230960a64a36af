"""What customers decide: the meme rises, money comes back, nobody sells what they have not."""

import random
from collections import Counter

import pytest

from loadtests.figures import MICROS, from_wire
from loadtests.load.customer_classes import BY_NAME, CLASSES
from loadtests.load.decisions import OPEN_ORDERS_KEPT, Request, Wallet, decide
from loadtests.load.symbols import SymbolPopularity

SYMBOLS = ("AAPL", "NVDA", "TSLA", "SPY", "KO", "GME")
POPULARITY = SymbolPopularity(SYMBOLS, "GME")
PRICES = dict.fromkeys(SYMBOLS, 25 * MICROS)


def picked(heat: float) -> Counter[str]:
    chance = random.Random(2)
    return Counter(POPULARITY.pick(chance, heat) for _ in range(20_000))


def decided(name: str, count: int, *, heat: float = 0.0, wallet: Wallet | None = None) -> list[Request]:
    chance, own = random.Random(name), wallet or Wallet()
    return [decide(BY_NAME[name], own, POPULARITY, PRICES, heat, chance) for _ in range(count)]


def test_popularity_falls_by_rank_and_the_meme_is_last_while_it_is_calm() -> None:
    counts = picked(0.0)
    assert [symbol for symbol, _ in counts.most_common()] == ["AAPL", "NVDA", "TSLA", "SPY", "KO", "GME"]
    assert counts["AAPL"] / counts["NVDA"] == pytest.approx(2**1.1, rel=0.1)


def test_the_meme_rises_with_the_heat() -> None:
    shares = [picked(heat)["GME"] / 20_000 for heat in (0.0, 0.25, 0.5, 1.0)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.85


def test_a_meme_that_cannot_be_traded_is_refused() -> None:
    with pytest.raises(ValueError, match="BBBY"):
        SymbolPopularity(SYMBOLS, "BBBY")


@pytest.mark.parametrize("name", ["holder", "day-trader", "fomo-buyer", "panic-seller"])
def test_who_buys_also_sells_so_money_comes_back(name: str) -> None:
    wallet = Wallet({"GME": 10_000 * MICROS, "AAPL": 10_000 * MICROS})
    sides = Counter(request.order["side"] for request in decided(name, 2_000, wallet=wallet) if request.order)
    assert sides["buy"] > 0
    assert sides["sell"] > 0.2 * sides["buy"]


def test_nobody_sells_more_than_they_have_seen_and_who_knows_of_nothing_looks_first() -> None:
    wallet = Wallet({"GME": 4 * MICROS + 500_000})
    requests = decided("panic-seller", 500, wallet=wallet)
    sold = sum(from_wire(each.order["qty"]) for each in requests if each.order and each.order["side"] == "sell")
    assert sold == 4 * MICROS + 500_000
    assert not wallet.sellable_micros
    assert any(each.operation == "positions" for each in requests)


def test_those_who_come_for_the_meme_touch_nothing_else() -> None:
    orders = [each.order for each in decided("fomo-buyer", 1_000) if each.order]
    assert {order["symbol"] for order in orders} == {"GME"}


def test_a_lurker_never_writes() -> None:
    assert {each.method for each in decided("lurker", 500, heat=1.0)} == {"GET"}


def test_a_cancel_names_an_order_of_their_own_once() -> None:
    wallet = Wallet()
    wallet.open_orders.extend(["one", "two"])
    cancels = [each.path for each in decided("bot", 200, wallet=wallet) if each.operation == "cancel"]
    assert cancels == ["/v1/orders/one", "/v1/orders/two"]


def test_limits_are_whole_cents_inside_the_band_and_wait_for_a_price() -> None:
    wallet = Wallet({"AAPL": 5_000 * MICROS})
    for order in (each.order for each in decided("day-trader", 2_000, wallet=wallet) if each.order):
        if order["type"] == "limit":
            limit = from_wire(order["limit_price"])
            assert limit % 10_000 == 0
            assert abs(limit - 25 * MICROS) <= 25 * MICROS // 10
    blind = decide(BY_NAME["bot"], Wallet(), POPULARITY, {}, 0.0, random.Random(1))
    assert blind.method == "GET"


def test_a_wallet_forgets_old_orders() -> None:
    wallet = Wallet()
    wallet.open_orders.extend(str(number) for number in range(1_000))
    assert len(wallet.open_orders) == OPEN_ORDERS_KEPT


def test_shares_of_the_classes_are_whole() -> None:
    for share in (sum(each.share for each in CLASSES), sum(each.activity(0.0) for each in CLASSES)):
        assert share == pytest.approx(1.0)
    assert sum(each.activity(1.0) for each in CLASSES) == pytest.approx(1.0)
