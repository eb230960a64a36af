"""The market's day lived through, by a whole stack with production's settings on a clock that is put forward.

From a Wednesday before its open, over Thanksgiving, a half day and a weekend, to the Monday after the change to summer
time. Opens and closes are met in two ways: lived through, with everything running (the drill fails if it came too
late), or slept through, with no process alive, so that the worker finds them past. Customers see what they should, and
after every leg all checks of the books are green.
"""

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.support.stack import Stack, fresh_stack

pytestmark = pytest.mark.soak

PASSWORD: Final = "correct horse battery"
SETTLED_S: Final = 120.0
PACE_S: Final = 0.15
"""A retail customer may place ten orders a second."""
ENDED: Final = ("filled", "cancelled", "expired", "rejected")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}:00+00:00")


class Day:
    """A stack, its clock, and customers who log in again after every jump."""

    def __init__(self, stack: Stack, offset_s: float) -> None:
        self.stack = stack
        self.offset_s = offset_s
        self.router = stack.env()["ROUTER_URL"]
        self.start_s = 30.0
        """What the last start took: how long before a moment the next one begins."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset_s)

    def jump(self, to: datetime) -> None:
        """Everything of ours ends, and begins again at that time."""
        self.offset_s = (to - datetime.now(UTC)).total_seconds()
        began = time.monotonic()
        self.stack.must("up", "--clock-offset", f"{self.offset_s:.3f}", timeout_s=600)
        self.start_s = time.monotonic() - began

    def jump_before(self, moment: datetime, ahead_s: float = 30.0) -> None:
        """Running and ready at some time before this moment."""
        self.jump(moment - timedelta(seconds=ahead_s + 2 * self.start_s))
        assert self.now() < moment - timedelta(seconds=5), "the drill came too late to live through it"

    def sleep_until(self, moment: datetime) -> None:
        time.sleep(max(0.0, (moment - self.now()).total_seconds()))

    def ask(
        self, method: str, path: str, body: object = None, *, token: str = "", key: str | None = None
    ) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "X-Idempotency-Key": key or uuid.uuid4().hex}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        raw = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.router + path, method=method, data=raw, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def check_books(self) -> None:
        self.stack.must("cells", "check", "cell-1", timeout_s=300)


class Trader:
    def __init__(self, day: Day, email: str) -> None:
        self.day = day
        self.email = email
        status, _ = day.ask("POST", "/v1/users", {"email": email, "password": PASSWORD})
        assert status == 201
        self.token = ""
        self.log_in()
        assert self.ask("POST", "/v1/deposits", {"amount": "100000"})[0] == 201

    def log_in(self) -> None:
        body = {"grant_type": "password", "email": self.email, "password": PASSWORD}
        status, tokens = self.day.ask("POST", "/v1/tokens", body)
        assert status == 200, tokens
        self.token = tokens["access_token"]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        return self.day.ask(method, path, body, token=self.token)

    def price(self) -> float:
        return float(self.ask("GET", "/v1/symbols/AAPL")[1]["reference_price"])

    def place(self, **terms: object) -> tuple[int, Any]:
        """A buy of one share; without a type of its own it rests 7 % below the market."""
        order = {"symbol": "AAPL", "side": "buy", "qty": "1", "type": "limit", **terms}
        if order["type"] == "limit":
            order.setdefault("limit_price", f"{self.price() * 0.93:.2f}")
        return self.ask("POST", "/v1/orders", order)

    def accepted(self, status: str, **terms: object) -> str:
        got, order = self.place(**terms)
        assert got == 201, order
        assert order["status"] == status, order
        return str(order["order_id"])

    def refused_until(self, opens_at: str) -> None:
        """What cannot wait is refused, and is told when the market opens."""
        for tif in ("ioc", "fok"):
            status, problem = self.place(time_in_force=tif)
            assert (status, problem["code"], problem["opens_at"]) == (422, "MARKET_CLOSED", opens_at)

    def order(self, order_id: str) -> Any:
        return self.ask("GET", f"/v1/orders/{order_id}")[1]

    def becomes(self, order_id: str, *wanted: str) -> None:
        deadline = time.monotonic() + SETTLED_S
        while (found := self.order(order_id)["status"]) not in wanted:
            assert time.monotonic() < deadline, f"{order_id} is {found}, not {wanted}"
            time.sleep(0.25)

    def reached_at(self, order_id: str, status: str) -> datetime:
        """When the order first came into this state."""
        _, page = self.ask("GET", f"/v1/orders/{order_id}/events?direction=asc")
        return next(datetime.fromisoformat(item["at"]) for item in page["items"] if item["to"] == status)

    def held_is_what_open_orders_hold(self) -> None:
        _, page = self.ask("GET", "/v1/orders?status=open&limit=500")
        held = sum(round(float(order["held"]) * 1e6) for order in page["items"] if order["side"] == "buy")
        assert round(float(self.ask("GET", "/v1/account")[1]["cash_held"]) * 1e6) == held


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    begins = utc("2026-11-25T13:00")
    offset_s = (begins - datetime.now(UTC)).total_seconds()
    options = ("--cells", "1", "--apis", "2", "--profile", "rehearsal", "--clock-offset", f"{offset_s:.3f}")
    with fresh_stack("market-day", *options) as stack:
        yield Day(stack, offset_s)


def around(day: Day, moment: datetime, do: Callable[[], Any]) -> list[Any]:
    """What it gives, again and again from two seconds before the moment to two after."""
    day.sleep_until(moment - timedelta(seconds=2))
    given = []
    while day.now() < moment + timedelta(seconds=2):
        given.append(do())
        time.sleep(PACE_S)
    return given


def judged_alike(answers: list[tuple[int, Any]], moment: datetime, before: str, after: str) -> None:
    """Every order belongs to the side of the moment on which it was recorded, whichever app server took it."""
    sides = {before: 0, after: 0}
    for status, order in answers:
        assert status == 201, order
        expected = before if datetime.fromisoformat(order["created_at"]) < moment else after
        assert order["status"] == expected, (order, moment)
        sides[expected] += 1
    assert all(sides.values()), f"the drill did not hit its window: {sides}"


def test_a_market_day_and_the_days_after_it(day: Day) -> None:
    traders = [Trader(day, f"{name}-{uuid.uuid4().hex[:8]}@example.com") for name in ("ann", "bob")]
    ann, bob = traders

    def jump(move: Callable[[datetime], None], to: datetime) -> None:
        day.check_books()
        move(to)
        for trader in traders:
            trader.log_in()

    # Wednesday before the open
    opens = utc("2026-11-25T14:30")
    ann.refused_until("2026-11-25T14:30:00Z")
    at_market = [trader.accepted("queued", type="market") for trader in traders]
    resting, good_till_cancelled = ann.accepted("queued"), ann.accepted("queued", time_in_force="gtc")
    stop = bob.accepted("armed", type="stop", stop_price=f"{bob.price() * 0.97:.2f}", time_in_force="gtc")
    changed_mind = bob.accepted("queued")
    assert bob.ask("DELETE", f"/v1/orders/{changed_mind}")[1]["status"] == "cancelled"
    for trader in traders:
        trader.held_is_what_open_orders_hold()

    # the open, lived through
    jump(day.jump_before, opens)
    with ThreadPoolExecutor(2) as threads:
        given = list(threads.map(lambda trader: around(day, opens, trader.place), traders))
    judged_alike(given[0] + given[1], opens, "queued", "funds_held")
    for trader, order_id in zip(traders, at_market, strict=True):
        trader.becomes(order_id, "filled")
        assert trader.reached_at(order_id, "funds_held") >= opens
    bob.becomes(stop, "filled")
    assert bob.reached_at(stop, "funds_held") >= opens
    for order_id in (resting, good_till_cancelled):
        ann.becomes(order_id, "routed")

    # the close, lived through
    closes = utc("2026-11-25T21:00")
    jump(day.jump_before, closes)
    with ThreadPoolExecutor(2) as threads:
        given = list(threads.map(lambda trader: around(day, closes, trader.place), traders))
    judged_alike(given[0] + given[1], closes, "funds_held", "queued")
    ann.becomes(resting, "expired")
    assert ann.reached_at(resting, "expired") >= closes
    for trader, answers in zip(traders, given, strict=True):
        for _, order in answers:
            trader.becomes(order["order_id"], "expired" if order["status"] == "funds_held" else "queued")
        trader.held_is_what_open_orders_hold()
    assert ann.order(good_till_cancelled)["status"] == "routed"
    waiting = [(trader, order["order_id"]) for trader, answers in zip(traders, given, strict=True)
               for _, order in answers if order["status"] == "queued"]  # fmt: skip

    # Thanksgiving: closed all day
    jump(day.jump, utc("2026-11-26T16:00"))
    ann.refused_until("2026-11-27T14:30:00Z")
    assert {trader.order(order_id)["status"] for trader, order_id in waiting} == {"queued"}

    # nobody was alive over Friday's open: what waited goes late, nothing is lost
    jump(day.jump, utc("2026-11-27T15:00"))
    for trader, order_id in waiting:
        trader.becomes(order_id, "routed", *ENDED)
    friday = bob.accepted("funds_held")

    # Friday is half a day: the close at one o'clock, lived through
    half = utc("2026-11-27T18:00")
    jump(day.jump_before, half)
    bob.becomes(friday, "routed")
    day.sleep_until(half)
    bob.becomes(friday, "expired")
    assert bob.reached_at(friday, "expired") >= half
    for trader, order_id in waiting:
        trader.becomes(order_id, *ENDED)
    ann.refused_until("2026-11-30T14:30:00Z")
    for_monday, for_long = ann.accepted("queued"), bob.accepted("queued", time_in_force="gtc")

    # nobody was alive over Monday's open and close: the day order ends unsent, the other one goes on waiting
    jump(day.jump, utc("2026-11-30T22:00"))
    ann.becomes(for_monday, "expired")
    assert bob.order(for_long)["status"] == "queued"
    assert ann.order(good_till_cancelled)["status"] == "routed"
    for trader in traders:
        trader.held_is_what_open_orders_hold()

    # the weekend of the change to summer time: Monday opens an hour earlier by UTC
    jump(day.jump, utc("2027-03-12T22:00"))
    ann.refused_until("2027-03-15T13:30:00Z")
    summer = ann.accepted("queued")
    jump(day.jump, utc("2027-03-15T13:31"))
    ann.becomes(summer, "routed")
    assert ann.reached_at(summer, "funds_held") >= utc("2027-03-15T13:30")
    assert bob.order(for_long)["status"] != "queued"
    day.check_books()
