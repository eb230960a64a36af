"""A customer in Locust: idle until a request is due, then one request, judged and recorded. Locust is synchronous.

Locust's own statistics count from when a request left; the recorder counts from when it was due. A customer does not
send again what was shed or broke: the audit afterwards asks for what is unknown, with the same key.
"""

import random
import time
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import msgspec
from gevent.lock import BoundedSemaphore
from locust import FastHttpUser, task

from loadtests.figures import from_wire
from loadtests.load.account_file import Account
from loadtests.load.customer_classes import BY_NAME, CustomerClass
from loadtests.load.decisions import Request, Wallet, decide
from loadtests.load.locust_gate import Gate
from loadtests.load.outcomes import Outcome, outcome_of
from loadtests.load.recorder import SentOrder

LOG_INS_AT_ONCE: Final = 4
"""A login costs a cell a slow password hash; more at once only queue, and take the processor from orders."""
TOKEN_RENEWED_S: Final = 60.0
"""Before its end, so that no request of a customer who acts now and then meets an expired one."""
NOTHING_DUE_S: Final = 3_600.0
"""An hour: the run is over long before."""

_log_ins = BoundedSemaphore(LOG_INS_AT_ONCE)


class Customer(FastHttpUser):
    """`who` says the class. Each has an account of their own, claimed when the gate opens."""

    abstract = True
    who: ClassVar[CustomerClass]
    network_timeout = 20.0
    """Seconds; longer than the router's deadline, so that it speaks first."""
    connection_timeout = 5.0
    """Seconds; a router that takes no connection for so long is down."""
    concurrency = 1
    """One connection, as a person's application keeps."""

    def on_start(self) -> None:
        gate: Gate = self.environment.gate
        gate.opened.wait()
        self._gate = gate
        self._account: Account = gate.claim(self.who)
        self._schedule: Iterator[float] = gate.traffic.due_times(self.who, self._account.number)
        self._chance = random.Random(f"acts:{gate.traffic.seed}:{self._account.name}")
        self._wallet = Wallet()
        self._due_s: float | None = None
        self._was_free = True
        self._writes = 0
        self._renew_token()

    def wait_time(self) -> float:
        """Until the next request is due; at once if that has passed."""
        self._due_s = next(self._schedule, None)
        if self._due_s is None:
            return NOTHING_DUE_S
        left_s = self._due_s - self._gate.now_s()
        self._was_free = left_s > 0.0
        return max(0.0, left_s)

    @task
    def act(self) -> None:
        if self._due_s is None:  # Locust acts first and waits afterwards
            return
        gate = self._gate
        if self._was_free:
            gate.watch.left(gate.now_s() - self._due_s)
        gate.watch.sent += 1
        if not self._account.token_lasts(1.0):
            self._renew_token()
        _, heat = gate.traffic.shape.at(self._due_s)
        request = decide(self.who, self._wallet, gate.popularity, gate.prices_micros, heat, self._chance)
        self._send(request, self._due_s)
        self._renew_token()

    def _send(self, request: Request, due_s: float) -> None:
        gate = self._gate
        headers = {"Authorization": f"Bearer {self._account.access_token}", "Accept-Encoding": "identity"}
        data: str | None = None
        sent: SentOrder | None = None
        writes = request.method != "GET"
        if writes:
            self._writes += 1
        name = f"{gate.run}-{self._account.name}-{self._writes}"
        if writes:
            headers["X-Idempotency-Key"] = f"{name}-key"
        if request.order is not None:
            sent = SentOrder(self._account.name, name, f"{name}-key", {**request.order, "client_order_id": name})
            headers["Content-Type"] = "application/json"
            data = msgspec.json.encode(sent.body).decode()
            gate.recorder.sends(sent)
        sent_s = gate.now_s()
        with self.client.request(
            request.method, request.path, name=request.operation, data=data, headers=headers, catch_response=True
        ) as answer:
            ended_s = gate.now_s()
            status = int(answer.status_code)
            body = _decoded(answer.content) if status else {}
            code = body.get("code") if status >= 400 else None
            outcome = outcome_of(
                status=status,
                code=code,
                retry_after=_header(answer, "Retry-After"),
                writes=writes,
            )
            _tell_locust(answer, outcome, status, code)
        cell = _header(answer, "X-Cell") or self._account.cell
        gate.recorder.measured(
            due_s,
            self.who.name,
            cell,
            request.operation,
            outcome,
            from_due_s=ended_s - due_s,
            from_sent_s=ended_s - sent_s,
        )
        if sent is not None:
            order_id = body.get("order_id") if outcome is Outcome.DONE else None
            gate.recorder.answered(sent, outcome, status, code=code, order_id=order_id, cell=cell)
        self._learn(request, outcome, code, body)

    def _learn(self, request: Request, outcome: Outcome, code: str | None, body: dict[str, Any]) -> None:
        if code == "PRICE_OUT_OF_BAND" and request.order is not None:
            self._gate.prices_micros.pop(request.order["symbol"], None)  # it has moved: ask before the next one
        if outcome is not Outcome.DONE:
            return
        if request.operation == "quote" and body.get("reference_price"):
            self._gate.prices_micros[body["symbol"]] = from_wire(body["reference_price"])
        elif request.operation == "positions":
            free = {each["symbol"]: from_wire(each["qty"]) - from_wire(each["qty_held"]) for each in body["items"]}
            self._wallet.sellable_micros = {symbol: micros for symbol, micros in free.items() if micros > 0}
        elif request.order is not None and request.order["type"] == "limit":
            self._wallet.open_orders.append(body["order_id"])

    def _renew_token(self) -> None:
        if self._account.token_lasts(TOKEN_RENEWED_S):
            return
        person = {"grant_type": "password", "email": self._account.email, "password": self._account.password}
        with _log_ins, self.client.post("/v1/tokens", json=person, name="log in", catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {answer.text[:200]}")
                return
            body = _decoded(answer.content)
            self._account.access_token = body["access_token"]
            self._account.token_ends_at_s = time.time() + body["expires_in"]


class Lurker(Customer):
    who = BY_NAME["lurker"]


class Holder(Customer):
    who = BY_NAME["holder"]


class DayTrader(Customer):
    who = BY_NAME["day-trader"]


class FomoBuyer(Customer):
    who = BY_NAME["fomo-buyer"]


class PanicSeller(Customer):
    who = BY_NAME["panic-seller"]


class Bot(Customer):
    who = BY_NAME["bot"]


def _tell_locust(answer: Any, outcome: Outcome, status: int, code: str | None) -> None:
    """A rule's refusal is an answer like another; what was shed, limited or broke is a failure for Locust, too."""
    if outcome in (Outcome.DONE, Outcome.REJECTED):
        answer.success()
    elif status:
        answer.failure(f"{outcome}: {status} {code or ''}")
    # else the connection broke, and Locust has counted that itself


def _decoded(content: bytes | None) -> dict[str, Any]:
    if not content:
        return {}
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _header(answer: Any, name: str) -> str | None:
    return answer.headers.get(name) if answer.headers else None
