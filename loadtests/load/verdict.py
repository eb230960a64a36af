"""Did the platform keep its word? One line per rule: what was asked, what was measured, right or not. Pure.

The service levels: an order is acknowledged within 500 ms for 95 of 100 customers of every cell, counted from when
they wanted it; nearly nothing breaks. The books: no order lost or doubled, every ledger check, Kafka = database. What
is stated without a limit (p99, what was shed) informs and fails nobody. A spike has numbers of its own beside these
(`spike_numbers`).
"""

from collections.abc import Sequence
from typing import Final

from loadtests.load.books import CellBooks
from loadtests.load.measured import Measured, every, is_order, of_cell
from loadtests.load.order_audit import Audit
from loadtests.load.outcomes import Outcome
from loadtests.load.rule import Rule
from loadtests.load.spike_numbers import spike_rules

ORDER_P95_MS_MAX: Final = 500.0
"""What placing promises, at the customer's side."""
BROKEN_SHARE_MAX: Final = 0.001
"""Of all requests: connections that broke, answers of 500 and above without `Retry-After`, unknown outcomes."""

SENT_SHARE_MIN: Final = 0.99
"""What was due and never sent, because its customer still waited at the end, is in no percentile: it must be little."""


def judge(
    measured: Measured, audit: Audit, books: Sequence[CellBooks], *, due: int, admission_rate: float
) -> tuple[Rule, ...]:
    """`books` has an entry for each cell of the stack; `due` is how many requests the shape wanted; `admission_rate` is
    how many orders a second each cell is to get, 0 for no cap."""
    rules = [_acknowledged_in_time(measured, cell) for cell in measured.cells]
    orders = measured.figures(is_order)
    everything = measured.figures()
    share = everything.broken / max(1, everything.count)
    rules += [
        Rule("orders acknowledged, p99", _ms(orders.done.percentile_us(99)), "", True),
        Rule(
            "requests that broke",
            f"{everything.broken:,} of {everything.count:,}",
            f"<= {BROKEN_SHARE_MAX:.1%}",
            everything.count > 0 and share <= BROKEN_SHARE_MAX,
        ),
        Rule(
            "requests sent of those that were due",
            f"{everything.count:,} of {due:,}",
            f">= {SENT_SHARE_MIN:.0%}",
            everything.count >= due * SENT_SHARE_MIN,
        ),
        Rule(
            "shed (503 with Retry-After), their p99",
            f"{everything.shed.count:,}, {_ms(everything.shed.percentile_us(99))}",
            "",
            True,
        ),
        Rule("limited (429: one customer asked too often)", f"{everything.outcomes[Outcome.LIMITED]:,}", "", True),
        *spike_rules(measured, admission_rate),
        _none("orders lost", audit.lost),
        _none("orders doubled", audit.doubled),
        _none("orders there that were refused or not sent", audit.uncalled),
        _none("orders of which nobody knows", audit.unresolved),
        Rule("orders acknowledged", f"{audit.acknowledged:,}", "more than none", audit.acknowledged > 0),
    ]
    rules += [
        Rule(
            f"{each.cell}: {each.checks} ledger checks, Kafka = database, quiet",
            "right" if not each.wrong else "; ".join(each.wrong),
            "right",
            not each.wrong,
        )
        for each in books
    ]
    if not books:
        rules.append(Rule("ledger checks", "no cell was asked", "right", False))
    return tuple(rules)


def is_passed(rules: Sequence[Rule]) -> bool:
    return all(rule.is_kept for rule in rules)


def _acknowledged_in_time(measured: Measured, cell: str) -> Rule:
    done = measured.figures(every(is_order, of_cell(cell))).done
    p95_us = done.percentile_us(95)
    return Rule(
        f"{cell}: orders acknowledged, p95 of {done.count:,}",
        _ms(p95_us),
        f"< {ORDER_P95_MS_MAX:g} ms",
        done.count == 0 or p95_us / 1000 < ORDER_P95_MS_MAX,
    )


def _none(about: str, count: int) -> Rule:
    return Rule(about, f"{count:,}", "0", count == 0)


def _ms(value_us: int) -> str:
    return f"{value_us / 1000:.1f} ms"
