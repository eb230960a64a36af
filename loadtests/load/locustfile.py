"""A steady day for Locust: `locust -f loadtests/load/locustfile.py --host "$ROUTER_URL"`.

Each user is a new retail customer with cash who places, cancels and reads at a human pace, below the retail limits
of ten orders per second. A call that is answered 503 or 429 counts as a failure here: Locust shows what the
platform did, while `loadtests.client` shows what a patient customer got. Locust is the only synchronous code of the
project.
"""

import random
import uuid
from typing import Any

from locust import HttpUser, between, task

SYMBOLS = ("AAPL", "AMZN", "BAC", "GME", "KO", "MSFT", "NVDA", "SOFI", "SPY", "TSLA")


class SteadyCustomer(HttpUser):
    """Reads about twice as often as they trade."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        self.open_orders: list[str] = []
        person = {"email": f"locust-{uuid.uuid4().hex}@customers.example", "password": uuid.uuid4().hex}
        with self.client.post("/v1/users", json=person, headers=_key(), catch_response=True) as answer:
            if answer.status_code != 201:
                answer.failure(f"sign-up: {answer.status_code} {answer.text[:200]}")
                self.stop(force=True)
                return
            self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        self.client.post("/v1/deposits", json={"amount": "50000"}, headers=_key())

    @task(4)
    def place_limit(self) -> None:
        symbol = random.choice(SYMBOLS)
        price = self._reference_cents(symbol)
        if price is None:
            return
        limit_cents = price * random.randint(970, 1005) // 1000
        limit_price = f"{limit_cents // 100}.{limit_cents % 100:02d}"
        self._place({"symbol": symbol, "side": "buy", "type": "limit", "qty": "1", "limit_price": limit_price})

    @task(2)
    def place_market(self) -> None:
        self._place({"symbol": random.choice(SYMBOLS), "side": "buy", "type": "market", "qty": "0.5"})

    @task(2)
    def cancel(self) -> None:
        if not self.open_orders:
            return
        order_id = self.open_orders.pop(random.randrange(len(self.open_orders)))
        with self.client.delete(
            f"/v1/orders/{order_id}", headers=_key(), name="/v1/orders/{order_id}", catch_response=True
        ) as answer:
            if answer.status_code == 409:
                answer.success()  # it had been filled already

    @task(6)
    def read_account(self) -> None:
        self.client.get("/v1/account")

    @task(6)
    def read_portfolio(self) -> None:
        self.client.get("/v1/portfolio")

    @task(4)
    def read_orders(self) -> None:
        self.client.get("/v1/orders?limit=20", name="/v1/orders?limit=20")

    def _place(self, order: dict[str, Any]) -> None:
        with self.client.post(
            "/v1/orders", json={**order, "time_in_force": "day"}, headers=_key(), catch_response=True
        ) as answer:
            if answer.status_code == 201:
                self.open_orders.append(answer.json()["order_id"])
            elif answer.status_code == 422 and answer.json().get("code") == "INSUFFICIENT_BUYING_POWER":
                answer.success()  # they have spent their money
            else:
                answer.failure(f"{answer.status_code} {answer.text[:200]}")

    def _reference_cents(self, symbol: str) -> int | None:
        answer = self.client.get(f"/v1/symbols/{symbol}", name="/v1/symbols/{symbol}")
        if answer.status_code != 200 or answer.json()["reference_price"] is None:
            return None
        dollars, _, fraction = answer.json()["reference_price"].partition(".")
        return int(dollars) * 100 + int(fraction.ljust(2, "0")[:2])


def _key() -> dict[str, str]:
    return {"X-Idempotency-Key": uuid.uuid4().hex}
