"""What came of a replay against what its tape says. Pure; returns every difference in words, none when all is well.

Compares order by order (terms, state, fills in order, cost), customer by customer (cash, shares, holds) and cell by
cell (what the operator's sums grew by). Nothing is rounded: everything is micros.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.figures import dollars, shares
from loadtests.replay.tape_plan import MICROS_PER_SHARE, CustomerPlan, TapeOrder


@dataclass(frozen=True, slots=True)
class SeenOrder:
    """An order as its owner reads it back through the router, one with those that replaced it: the terms of the first,
    the state of the last, the fills of all."""

    order_id: str
    side: str
    status: str
    qty_micros: int
    limit_price_micros: int
    cum_qty_micros: int
    leaves_qty_micros: int
    fills: tuple[tuple[int, int], ...]  # (last_qty_micros, last_px_micros) in the order they happened
    replacements: int = 0


@dataclass(frozen=True, slots=True)
class SeenCustomer:
    cash_micros: int
    cash_held_micros: int
    qty_micros: int
    qty_held_micros: int


@dataclass(frozen=True, slots=True)
class Funding:
    cash_micros: int
    qty_micros: int


@dataclass(frozen=True, slots=True)
class CellSums:
    """What `shardctl cells summary` says of one cell, for one symbol."""

    users: int
    orders: int
    executions: int
    cash_micros: int
    cash_held_micros: int
    qty_micros: int
    qty_held_micros: int

    def minus(self, before: "CellSums") -> "CellSums":
        return CellSums(
            self.users - before.users,
            self.orders - before.orders,
            self.executions - before.executions,
            self.cash_micros - before.cash_micros,
            self.cash_held_micros - before.cash_held_micros,
            self.qty_micros - before.qty_micros,
            self.qty_held_micros - before.qty_held_micros,
        )


def compare_order(expected: TapeOrder, seen: SeenOrder | None) -> list[str]:
    name = f"tape order {expected.tape_id} (line {expected.line}, customer {expected.customer})"
    if seen is None:
        return [f"{name}: the customer has no such order"]
    found: list[str] = []

    def check(what: str, tape: object, platform: object) -> None:
        if tape != platform:
            found.append(f"{name}: {what}: the tape says {tape}, the platform says {platform}")

    check("side", expected.side, seen.side)
    check("quantity", shares(expected.size * MICROS_PER_SHARE), shares(seen.qty_micros))
    check("limit price", dollars(expected.price_micros), dollars(seen.limit_price_micros))
    check("state", expected.expected_status, seen.status)
    check("filled quantity", shares(expected.filled * MICROS_PER_SHARE), shares(seen.cum_qty_micros))
    check("open quantity", shares(expected.expected_open * MICROS_PER_SHARE), shares(seen.leaves_qty_micros))
    check("replacements", len(expected.reductions), seen.replacements)
    check("cost in micro-dollars", expected.cost_micros, _cost_micros(seen.fills))
    check("fills", _in_words(expected_fills(expected)), _in_words(seen.fills))
    return found


def expected_fills(expected: TapeOrder) -> tuple[tuple[int, int], ...]:
    return tuple((fill.size * MICROS_PER_SHARE, fill.price_micros) for fill in expected.fills)


def _in_words(fills: Sequence[tuple[int, int]]) -> str:
    return "; ".join(f"{shares(qty)} at {dollars(price)}" for qty, price in fills) or "none"


def compare_customer(plan: CustomerPlan, funding: Funding, seen: SeenCustomer) -> list[str]:
    expected = expected_customer(plan, funding)
    name = f"customer {plan.number}"
    return _differences(
        name,
        (
            ("cash, micro-dollars", expected.cash_micros, seen.cash_micros),
            ("held cash, micro-dollars", expected.cash_held_micros, seen.cash_held_micros),
            ("shares, micros", expected.qty_micros, seen.qty_micros),
            ("held shares, micros", expected.qty_held_micros, seen.qty_held_micros),
        ),
    )


def expected_customer(plan: CustomerPlan, funding: Funding) -> SeenCustomer:
    """Cash and shares include what is held for open orders."""
    buys = [order for order in plan.orders if order.side == "buy"]
    sells = [order for order in plan.orders if order.side == "sell"]
    bought, sold = (sum(order.filled for order in side) for side in (buys, sells))
    paid, earned = (sum(order.cost_micros for order in side) for side in (buys, sells))
    return SeenCustomer(
        cash_micros=funding.cash_micros - paid + earned,
        cash_held_micros=sum(order.expected_open * order.price_micros for order in buys),
        qty_micros=funding.qty_micros + (bought - sold) * MICROS_PER_SHARE,
        qty_held_micros=sum(order.expected_open for order in sells) * MICROS_PER_SHARE,
    )


def expected_cell(plans: Sequence[CustomerPlan], fundings: Mapping[int, Funding]) -> CellSums:
    """What the customers of one cell must have added to its sums."""
    ends = [expected_customer(plan, fundings[plan.number]) for plan in plans]
    return CellSums(
        users=len(plans),
        orders=sum(1 + len(order.reductions) for plan in plans for order in plan.orders),
        executions=sum(len(order.fills) for plan in plans for order in plan.orders),
        cash_micros=sum(end.cash_micros for end in ends),
        cash_held_micros=sum(end.cash_held_micros for end in ends),
        qty_micros=sum(end.qty_micros for end in ends),
        qty_held_micros=sum(end.qty_held_micros for end in ends),
    )


def compare_cell(cell: str, expected: CellSums, grown_by: CellSums) -> list[str]:
    """Empty also when others traded in the cell meanwhile: then its sums say nothing of ours."""
    if others_traded(expected, grown_by):
        return []
    return _differences(
        f"cell {cell}",
        (
            ("customers", expected.users, grown_by.users),
            ("orders", expected.orders, grown_by.orders),
            ("executions", expected.executions, grown_by.executions),
            ("cash, micro-dollars", expected.cash_micros, grown_by.cash_micros),
            ("held cash, micro-dollars", expected.cash_held_micros, grown_by.cash_held_micros),
            ("shares, micros", expected.qty_micros, grown_by.qty_micros),
            ("held shares, micros", expected.qty_held_micros, grown_by.qty_held_micros),
        ),
    )


def others_traded(expected: CellSums, grown_by: CellSums) -> bool:
    """The cell grew by more than the replay's customers account for, and by nothing less."""
    more = (
        grown_by.users - expected.users,
        grown_by.orders - expected.orders,
        grown_by.executions - expected.executions,
    )
    return min(more) >= 0 and max(more) > 0


def _differences(name: str, figures: Sequence[tuple[str, int, int]]) -> list[str]:
    return [
        f"{name}: {what}: the tape says {tape}, the platform says {platform}"
        for what, tape, platform in figures
        if tape != platform
    ]


def _cost_micros(fills: Sequence[tuple[int, int]]) -> int:
    """Exact: tapes trade whole shares; a remainder would be a difference in itself."""
    exact = sum(qty * price for qty, price in fills)
    return exact // MICROS_PER_SHARE if exact % MICROS_PER_SHARE == 0 else -exact
