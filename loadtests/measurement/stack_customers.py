"""Customers for a measurement: signed up through the router, all in one cell, professional, with cash for millions.

Also what is needed to speak to that cell without the router: its address and route tokens signed with the stack's
own key. That is for measuring the router's share; nothing else may go past it.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from infra.security.keys import ROUTE_FILE, load_key_ring
from infra.security.lifetime import ROUTE_TOKEN_LIFE_MAX_S
from infra.security.route_token import RouteTokenSigner
from loadtests.client import Customer, RouterClient
from loadtests.figures import MICROS, from_wire
from loadtests.measurement.order_requests import limit_buy
from loadtests.measurement.state_folder import keys_folder
from loadtests.operator_view import OperatorView

CASH_MICROS = 9_000_000 * MICROS
"""One deposit, just below the largest that is taken."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One cell and its customers, ready to be measured."""

    cell: str
    router_url: str
    cell_url: str
    customers: tuple[Customer, ...]
    signer: RouteTokenSigner
    epoch: int
    symbol: str
    limit_price_micros: int

    def route_tokens(self) -> list[str]:
        """A fresh one for every customer: a cell believes none for longer than its norm, so each round has its own."""
        return sign_fresh(self.signer, self.cell, self.epoch, [each.user_id for each in self.customers])

    def body(self) -> bytes:
        """A limit buy of one share, well below the market, so that it rests."""
        return limit_buy(self.symbol, self.limit_price_micros)


async def open_bench(router_url: str, view: OperatorView, *, cell: str, customers: int, symbol: str = "KO") -> Bench:
    """Raises KeyFileInvalid."""
    environment = await view.environment()
    cell_url = environment[f"{cell.upper().replace('-', '_')}_API_URL"]
    async with RouterClient(router_url, connections=16) as router:
        await router.must_answer()
        mine = await _customers_in(router, cell, customers)
        await _prepare(mine, view)
        answer = await mine[0].call({200}, "GET", f"/v1/symbols/{symbol}")
    reference_micros = from_wire(answer.body["reference_price"])
    epoch = int((await view.json("map", "show"))["epoch"])
    signer = RouteTokenSigner(load_key_ring(await keys_folder(view) / ROUTE_FILE))
    return Bench(
        cell=cell,
        router_url=router_url,
        cell_url=cell_url,
        customers=tuple(mine),
        signer=signer,
        epoch=epoch,
        symbol=symbol,
        limit_price_micros=reference_micros * 93 // 100 // 10_000 * 10_000,
    )


def sign_fresh(signer: RouteTokenSigner, cell: str, epoch: int, users: Sequence[uuid.UUID]) -> list[str]:
    """Route tokens as long as they may be."""
    ends_at_s = int(time.time()) + ROUTE_TOKEN_LIFE_MAX_S
    return [signer.sign(user_id=user_id, cell_id=cell, epoch=epoch, expires_at_s=ends_at_s) for user_id in users]


async def _customers_in(router: RouterClient, cell: str, count: int) -> list[Customer]:
    """Sign up until that many landed in the cell: the router chooses the cell, not the customer."""
    tag = secrets.token_hex(4)
    found: list[Customer] = []
    for attempt in range(0, count * 20, 8):
        batch = await asyncio.gather(
            *(
                router.sign_up(f"bench-{tag}-{attempt + number}@customers.example", uuid.uuid4().hex)
                for number in range(8)
            )
        )
        found += [customer for customer in batch if customer.cell == cell]
        if len(found) >= count:
            return found[:count]
    raise RuntimeError(f"the router placed only {len(found)} of {count * 20} customers in {cell}")


async def _prepare(customers: list[Customer], view: OperatorView) -> None:
    """Professional customers (`shardctl up --risk-profile professional` makes them so from the start) with money."""
    first = await view.json("users", "show", str(customers[0].user_id))
    professional = first["account"]["profile"] == "professional"

    if not professional:
        await view.make_professional([customer.user_id for customer in customers])

    async def one(customer: Customer) -> None:
        for _ in range(4):
            await customer.deposit(CASH_MICROS)

    await asyncio.gather(*(one(customer) for customer in customers))
