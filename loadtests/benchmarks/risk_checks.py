"""What the risk checks of an order cost inside the place procedure.

The shipped procedure and a copy of it whose checks are cut out take one command in a call, in turns, on a PostgreSQL of
its own. Time is the server's, from before the call to after its last row: no network, no waiting for the log. What
the checks add is the difference of the quantiles; the whole procedure's p99 bounds it from above.

Three kinds of customers: professional (buying power, tradability, price band); retail (position limit and rates as
well, with a minute's record of orders); and retail with 220 open buys of another symbol that together pass the position
limit, so that the check has to ask which of them are of this one.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from loadtests.figures import MICROS
from loadtests.measurement.conditions import conditions
from loadtests.measurement.own_cell import own_cell
from loadtests.measurement.own_market import CASH_MICROS, LIMIT_PX, PX_MICROS, SYMBOL
from loadtests.measurement.queries import SingleOrders, open_customers, place_under_key, settle_tables
from loadtests.measurement.refusal import MeasurementRefused
from loadtests.measurement.results import Say, write_result
from loadtests.quantiles import medians, percentile

USERS: Final = 256
"""In turn, so that no call waits for the row of the one before."""
OTHER_SYMBOL: Final = "PEP"
OPEN_BUYS: Final = 220
OTHER_PX: Final = 2_280 * MICROS
"""220 buys of one share at $2,280 hold $501,600: more than retail's $500,000 for one symbol."""
STEP: Final = timedelta(milliseconds=40)
"""Between two orders; with 256 customers one of them orders every ten seconds, so a minute's record holds six."""
KINDS: Final = {"professional": ("professional", 0), "retail": ("retail", 0), "retail_220_open": ("retail", OPEN_BUYS)}

# The copy answers the same but judges nothing: from the first check to the last.
FIRST_CHECK: Final = "when not r.tradable then"
AFTER_LAST_CHECK: Final = "else 'accepted'"
RATE_RECORD_IS_READ: Final = (
    "num_nonnulls(l.orders_per_second_max, l.orders_per_minute_max, l.value_per_minute_max_micros) > 0"
)


def without_checks(definition: str, name: str) -> str:
    """The procedure's own text under another name, its risk checks cut out. Raises MeasurementRefused if it does not
    look as expected."""
    for needed in (FIRST_CHECK, RATE_RECORD_IS_READ, "place_orders_v1"):
        if definition.count(needed) != 1:
            raise MeasurementRefused(f"the procedure has changed: {needed!r} is there {definition.count(needed)} times")
    head, _, rest = definition.partition(FIRST_CHECK)
    checks, _, tail = rest.partition(AFTER_LAST_CHECK)
    if "ORDER_RATE_LIMIT" not in checks or "insert" in checks:
        raise MeasurementRefused("the procedure has changed: its checks are not where they were")
    copy = head + AFTER_LAST_CHECK + tail
    return copy.replace(RATE_RECORD_IS_READ, "false").replace("place_orders_v1", name)


async def measure(say: Say, *, calls: int, rounds: int) -> tuple[dict[str, Any], Path]:
    """Single orders through the procedure and through a copy of it without checks, call by call; return the document
    and its file.

    The clock advances between calls, so that no rate limit is reached. The first round warms up and is not kept. Raises
    MeasurementRefused.
    """
    where = conditions()
    measured: list[dict[str, float]] = []
    terms: dict[str, Any] = {"cash_micros": CASH_MICROS, "symbol": SYMBOL, "px_micros": PX_MICROS}
    async with own_cell() as cell:
        orders = await SingleOrders.connect(cell.superuser_dsn)
        await orders.set_price(OTHER_SYMBOL, OTHER_PX)
        await orders.copy_procedure(lambda text: without_checks(text, "place_unchecked_v1"))
        users = {kind: await open_customers(cell.service_dsn, USERS, **terms) for kind in KINDS}
        for kind, (profile, open_buys) in KINDS.items():
            for number in range(open_buys):
                await place_under_key(cell.service_dsn, users[kind], f"open-{number}", OTHER_SYMBOL, OTHER_PX)
            await orders.set_profile(users[kind], profile)
        await settle_tables(cell.superuser_dsn)
        for number in range(-1, rounds):  # the first warms up and is not kept
            taken: dict[tuple[str, str], list[float]] = {}
            for call in range(calls):
                await orders.advance_clock(STEP)
                for kind in KINDS:
                    # each procedure meets each customer, and goes first as often as second
                    both = ("place_orders_v1", "place_unchecked_v1")
                    for procedure in both if call % 2 else reversed(both):
                        user_id = users[kind][(call if procedure == both[0] else call + USERS // 2) % USERS]
                        spent_us = await orders.place(procedure, user_id, SYMBOL, MICROS, LIMIT_PX)
                        taken.setdefault((kind, procedure), []).append(spent_us / 1000)
            figures: dict[str, float] = {}
            for kind in KINDS:
                checked, unchecked = taken[kind, "place_orders_v1"], taken[kind, "place_unchecked_v1"]
                for quantile, share in (("p50", 0.50), ("p99", 0.99)):
                    whole = percentile(checked, share)
                    figures[f"{kind}_{quantile}_ms"] = round(whole, 4)
                    figures[f"{kind}_checks_{quantile}_ms"] = round(whole - percentile(unchecked, share), 4)
            if number >= 0:
                measured.append(figures)
            said = ", ".join(f"{name} {value:g}" for name, value in figures.items())
            say(f"round {number + 1} of {rounds}: {said}")
        await orders.close()
    document = {
        "benchmark": "risk_checks",
        "what": "one order in a call, server's time in the procedure; _checks_: what a copy without risk checks saves",
        "conditions": where,
        "settings": {"calls": calls, "rounds": rounds, "users_of_each_kind": USERS, "open_buys": OPEN_BUYS},
        "median": medians(measured),
        "rounds": measured,
    }
    return document, write_result("risk_checks", document)
