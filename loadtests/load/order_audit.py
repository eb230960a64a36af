"""Was any order lost or doubled? What was answered is compared with what each account holds, order by order.

First every order whose outcome nobody knows is sent again with the same key: then it was answered, too. An order that
was acknowledged must stand in its account exactly once, under the id of the answer; one that was refused or shed must
not stand there at all. Orders of other runs are not looked at.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from loadtests.client import Answer, Customer, CustomerError, RouterClient
from loadtests.load.account_file import Account
from loadtests.load.make_accounts import AT_ONCE, customer_of
from loadtests.load.outcomes import Outcome
from loadtests.load.recorder import JournalEntry

EXAMPLES_MAX: Final = 10
"""Named in the report; the count says how many there are."""
CLOCK_S: Final = 60.0
"""How far before the run its orders may seem to be made, when clocks differ."""


@dataclass(slots=True)
class Audit:
    """Counts of a run's orders, and the names of the first few that are wrong."""

    acknowledged: int = 0
    asked_again: int = 0
    lost: int = 0
    doubled: int = 0
    uncalled: int = 0
    """Refused or shed, and there all the same; or never sent by us."""
    unresolved: int = 0
    """Still unknown after it was sent again, or in an account that could not be read."""
    examples: list[str] = field(default_factory=list)

    def wrong(self, kind: str, words: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{kind}: {words}")


async def audit_orders(
    router_url: str, accounts: Sequence[Account], journal: Sequence[JournalEntry], run: str, opened_at_s: float
) -> Audit:
    entries: dict[str, list[JournalEntry]] = defaultdict(list)
    for entry in journal:
        entries[entry.order.account].append(entry)
    found = Audit()
    slots = asyncio.Semaphore(AT_ONCE)
    since = datetime.fromtimestamp(opened_at_s - CLOCK_S, UTC).isoformat().replace("+00:00", "Z")

    async def one(router: RouterClient, account: Account) -> None:
        async with slots:
            mine = entries[account.name]
            try:
                customer = await customer_of(router, account)
                known = [await _resolved(customer, entry, found) for entry in mine]
                listed = await customer.items("/v1/orders", {"after": since})
            except CustomerError as error:
                found.wrong("unresolved", f"{account.name}: {error}")
                return
        prefix = f"{run}-"
        theirs = [
            (str(order["client_order_id"]), str(order["order_id"]))
            for order in listed
            if str(order["client_order_id"]).startswith(prefix)
        ]
        compare(known, theirs, found)

    async with RouterClient(router_url, connections=AT_ONCE) as router:
        await asyncio.gather(*(one(router, account) for account in accounts))
    return found


async def _resolved(customer: Customer, entry: JournalEntry, found: Audit) -> JournalEntry:
    if entry.outcome != Outcome.UNKNOWN:
        return entry
    found.asked_again += 1
    answer: Answer = await customer.call(
        range(200, 600), "POST", "/v1/orders", body=entry.order.body, key=entry.order.key
    )
    if answer.status == 201:
        return replace(entry, outcome=Outcome.DONE, status=201, order_id=str(answer.body["order_id"]))
    if 400 <= answer.status < 500 and answer.status != 429:
        return replace(entry, outcome=Outcome.REJECTED, status=answer.status, code=answer.code)
    return entry


def compare(known: Sequence[JournalEntry], listed: Sequence[tuple[str, str]], found: Audit) -> None:
    """One account. `listed` are pairs of client order id and order id, as the account holds them.

    Wrong is an acknowledged order that is missing, doubled or another one; an outcome that stays unknown; an order that
    was refused or never sent and is there all the same.
    """
    times = Counter(name for name, _ in listed)
    ids = dict(listed)
    for entry in known:
        name = entry.order.client_order_id
        match entry.outcome:
            case Outcome.DONE:
                found.acknowledged += 1
                if times[name] == 0:
                    found.wrong("lost", f"{name} was acknowledged as {entry.order_id} and is not there")
                elif times[name] > 1:
                    found.wrong("doubled", f"{name} is there {times[name]} times")
                elif ids[name] != entry.order_id:
                    found.wrong("lost", f"{name} was acknowledged as {entry.order_id} and is there as {ids[name]}")
            case Outcome.UNKNOWN:
                found.wrong("unresolved", f"{name} is unknown after it was sent again")
            case _ if times[name]:
                found.wrong("uncalled", f"{name} was answered {entry.status} {entry.code or ''} and is there")
    for name in times.keys() - {entry.order.client_order_id for entry in known}:
        found.wrong("uncalled", f"{name} is there and was not sent")
