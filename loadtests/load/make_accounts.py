"""Accounts before a run, so that no run begins with sign-ups: made once, funded, logged in, and used again.

Bounded: a password hash costs a cell tens of milliseconds of a whole core. What was made is kept, also when a later
step fails; asked again, only what is missing is made. Cash and shares that earlier runs used up are brought again.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from loadtests.client import Customer, RouterClient
from loadtests.figures import MICROS, from_wire
from loadtests.load.account_file import Account, AccountFile, AccountFileRefused, read_accounts, write_accounts
from loadtests.load.customer_classes import BY_NAME, CLASSES, head_counts
from loadtests.operator_view import OperatorView

SIGN_UPS_AT_ONCE: Final = 4
"""A password hash costs a cell tens of milliseconds of a core; more at once only queue."""
AT_ONCE: Final = 16
"""Of everything else: deposits, transfers, tokens."""
CASH_MICROS: Final = 50_000 * MICROS
"""Buys are of a few dollars: enough for a day of runs, and far inside what an account may hold."""
CASH_LEFT_MICROS: Final = 10_000 * MICROS
"""An account with less is filled up before a run."""
SYMBOLS: Final = ("AAPL", "NVDA", "TSLA", "SPY", "MSFT", "AMZN", "SOFI", "BAC", "KO", "GME")
"""In order of popularity on a calm day."""
TOKEN_LIFE_S: Final = 840.0
"""A minute less than what the platform gives; an earlier renewal costs a login."""
TOKEN_NEEDED_S: Final = 480.0
"""Longer than the longest shape takes: a login during the run would take the processor from orders."""
PRICES_S_MAX: Final = 20.0
"""For the cells to know every symbol's price: a stack that has just started has none yet."""

Progress = Callable[[str, int, int], None]


async def prepare_accounts(
    router_url: str, view: OperatorView, path: Path, count: int, meme: str, progress: Progress
) -> AccountFile:
    """At least `count` accounts in the file, of every class in its share, with cash, shares and a fresh token. Raises
    AccountFileRefused."""
    stack = str((await view.json("status"))["stack"])
    kept = _kept(path, stack)
    async with RouterClient(router_url, connections=AT_ONCE) as router:
        await router.must_answer()
        try:
            await _sign_up_missing(router, kept, count, progress)
        finally:
            if kept.accounts:
                write_accounts(path, kept)
        customers = await _log_in(router, kept.accounts, progress)
        prices = await _prices(customers[0])
        if meme not in prices:
            raise AccountFileRefused(f"{meme} has no price at this stack; tradable are {', '.join(prices)}")
        kept.symbols = list(prices)
        write_accounts(path, kept)
        await _fund(kept.accounts, customers, view, prices, meme, progress)
    return kept


def _kept(path: Path, stack: str) -> AccountFile:
    """What the file holds, if it is of this stack; a new file otherwise."""
    if not path.exists():
        return AccountFile(stack, [], [])
    kept = read_accounts(path)
    if kept.stack != stack:
        raise AccountFileRefused(f"{path} holds accounts of the stack {kept.stack}, this is {stack}")
    return kept


async def _sign_up_missing(router: RouterClient, kept: AccountFile, count: int, progress: Progress) -> None:
    there = kept.by_class()
    missing = [
        (name, number) for name, wanted in head_counts(count).items() for number in range(there.get(name, 0), wanted)
    ]
    slots = asyncio.Semaphore(SIGN_UPS_AT_ONCE)
    tag = secrets.token_hex(4)
    made: dict[tuple[str, int], Account] = {}

    async def one(name: str, number: int) -> None:
        async with slots:
            email, password = f"load-{tag}-{name}-{number}@customers.example", secrets.token_urlsafe(16)
            made[name, number] = _account(await router.sign_up(email, password), name, number, password)
        progress("signing up", len(made), len(missing))

    try:
        async with asyncio.TaskGroup() as group:
            for name, number in missing:
                group.create_task(one(name, number))
    finally:
        for each in CLASSES:  # without gaps: an account's number is its place in its class
            number = there.get(each.name, 0)
            while (each.name, number) in made:
                kept.accounts.append(made[each.name, number])
                number += 1


def _account(customer: Customer, name: str, number: int, password: str) -> Account:
    return Account(
        number=number,
        customer_class=name,
        email=customer.email,
        password=password,
        user_id=str(customer.user_id),
        cell=customer.cell or "",
        access_token=customer.access_token,
        token_ends_at_s=time.time() + TOKEN_LIFE_S,
    )


async def _log_in(router: RouterClient, accounts: Sequence[Account], progress: Progress) -> list[Customer]:
    slots = asyncio.Semaphore(SIGN_UPS_AT_ONCE)
    done = 0

    async def one(account: Account) -> Customer:
        nonlocal done
        async with slots:
            customer = await customer_of(router, account)
        done += 1
        progress("logging in", done, len(accounts))
        return customer

    return list(await asyncio.gather(*(one(account) for account in accounts)))


async def customer_of(router: RouterClient, account: Account) -> Customer:
    """The account's customer, with the token that is kept or a new one, which is kept then."""
    if not account.token_lasts(TOKEN_NEEDED_S):
        answer = await router.expect(
            {200},
            "POST",
            "/v1/tokens",
            body={"grant_type": "password", "email": account.email, "password": account.password},
        )
        account.access_token = str(answer.body["access_token"])
        account.token_ends_at_s = time.time() + float(answer.body["expires_in"])
    return Customer.known(router, account.email, account.password, account.access_token, uuid.UUID(account.user_id))


async def _prices(customer: Customer) -> dict[str, int]:
    """Of the symbols that can be traded; waits for the market to speak after a start."""
    ends_s = time.monotonic() + PRICES_S_MAX
    while True:
        prices: dict[str, int] = {}
        for symbol in SYMBOLS:
            answer = await customer.call({200, 404, 422}, "GET", f"/v1/symbols/{symbol}")
            if answer.status == 200 and answer.body["tradable"] and answer.body["reference_price"] is not None:
                prices[symbol] = from_wire(answer.body["reference_price"])
        if len(prices) == len(SYMBOLS) or time.monotonic() > ends_s:
            return prices
        await asyncio.sleep(0.5)


async def _fund(
    accounts: Sequence[Account],
    customers: Sequence[Customer],
    view: OperatorView,
    prices: dict[str, int],
    meme: str,
    progress: Progress,
) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(account: Account, customer: Customer) -> None:
        nonlocal done
        async with slots:
            who = BY_NAME[account.customer_class]
            body = await customer.account()
            account.cell = customer.cell or account.cell
            if from_wire(body["buying_power"]) < CASH_LEFT_MICROS:
                await customer.deposit(CASH_MICROS)
            if who.shares:
                owned = {each["symbol"]: from_wire(each["qty"]) for each in await customer.positions()}
                waiting: list[str] = []
                for symbol in {meme, next(iter(prices))}:
                    if owned.get(symbol, 0) < who.shares * MICROS // 2:
                        waiting += await customer.bring_shares(symbol, who.shares * MICROS, prices[symbol])
                await view.approve_transfers(customer.user_id, waiting)
        done += 1
        progress("funding", done, len(accounts))

    await asyncio.gather(*(one(account, customer) for account, customer in zip(accounts, customers, strict=True)))
