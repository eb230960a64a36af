"""What a walk over a chain finds: each way of touching it, by the number of the row and by what is wrong with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from shardctl.audit.head import Head
from shardctl.audit.row import GENESIS_HASH, AuditRow
from shardctl.audit.walk import LISTED_MAX, Fault, Walk, Walked

ROWS = 20


def chained(count: int, *, by: str = "ann", start: AuditRow | None = None) -> list[AuditRow]:
    """A right chain, from row 1 or after `start`."""
    number, previous = (0, GENESIS_HASH) if start is None else (start.number, start.hash)
    rows: list[AuditRow] = []
    for _ in range(count):
        number += 1
        at = f"2026-11-30T15:{number // 60:02}:{number % 60:02}.000000Z"
        row = AuditRow(
            number, at, None, by, "admin", "socket", "cells.cordon", "cell-1",
            "{}", "slow disk", None, None, previous, "",
        )  # fmt: skip
        rows.append(replace(row, hash=row.own_hash()))
        previous = rows[-1].hash
    return rows


CHAIN = chained(ROWS)
HEADS = {number: (Head(number, CHAIN[number - 1].hash, f"2026-11-30T{number:02}:00:00Z"),) for number in (5, 12)}


def walked(rows: Sequence[AuditRow], heads: dict[int, tuple[Head, ...]] | None = None) -> Walked:
    walk = Walk(HEADS if heads is None else heads)
    for row in rows:
        walk.take(row)
    return walk.end()


def found(rows: Sequence[AuditRow]) -> list[tuple[int, Fault]]:
    return [(finding.number, finding.fault) for finding in walked(rows).findings]


def edited(place: int, **changes: object) -> list[AuditRow]:
    """Row `place`, from 1, with other fields and its old hash."""
    return [replace(row, **changes) if row.number == place else row for row in CHAIN]  # type: ignore[arg-type]


def rewritten_alone(place: int) -> list[AuditRow]:
    """With a right hash of its own; what follows still names the old one."""
    rows = edited(place, subject="bob")
    rows[place - 1] = replace(rows[place - 1], hash=rows[place - 1].own_hash())
    return rows


def rewritten_from(place: int) -> list[AuditRow]:
    """A new tail, chained as it should be."""
    return [*CHAIN[: place - 1], *chained(ROWS - place + 1, by="bob", start=CHAIN[place - 2])]


def swapped(one: int, other: int) -> list[AuditRow]:
    rows = list(CHAIN)
    rows[one - 1], rows[other - 1] = rows[other - 1], rows[one - 1]
    return rows


def test_a_whole_chain() -> None:
    found = walked(CHAIN)
    assert found.is_intact
    assert (found.rows, found.first, found.last, found.head) == (ROWS, 1, ROWS, CHAIN[-1].hash)
    assert (found.heads_compared, found.proven_by_heads) == (2, 12)
    assert walked([]).findings[0].fault is Fault.CUT_OFF
    assert walked([], {}) == Walked(0, 0, 0, GENESIS_HASH, 0, 0, (), 0)


@pytest.mark.parametrize(
    ("rows", "findings"),
    [
        (edited(7, reason="because"), [(7, Fault.EDITED)]),
        (edited(7, reason=None), [(7, Fault.EDITED)]),
        (edited(7, at="2026-11-30T15:00:07.000001Z"), [(7, Fault.EDITED)]),
        (edited(20, outcome="done"), [(20, Fault.EDITED)]),
        (edited(7, hash="ab" * 32), [(7, Fault.EDITED), (8, Fault.NOT_CHAINED)]),
        (edited(7, previous_hash="ab" * 32), [(7, Fault.NOT_CHAINED), (7, Fault.EDITED)]),
        (edited(7, at="nonsense"), [(7, Fault.EDITED), (7, Fault.EDITED)]),
        (rewritten_alone(7), [(8, Fault.NOT_CHAINED)]),
        (rewritten_alone(12), [(12, Fault.REWRITTEN), (13, Fault.NOT_CHAINED)]),
        ([*CHAIN[:6], *CHAIN[7:]], [(7, Fault.MISSING)]),
        (CHAIN[3:], [(1, Fault.MISSING)]),
        ([*CHAIN[:6], *CHAIN[9:]], [(7, Fault.MISSING)]),
        ([*CHAIN[:7], CHAIN[6], *CHAIN[7:]], [(7, Fault.MISPLACED)]),
        (swapped(7, 8), [(7, Fault.MISSING), (7, Fault.MISPLACED)]),
        (rewritten_from(12), [(12, Fault.REWRITTEN)]),
        (rewritten_from(13), []),
        (CHAIN[:11], [(12, Fault.CUT_OFF)]),
        (CHAIN[:12], []),
    ],
)
def test_what_was_done_to_it(rows: list[AuditRow], findings: list[tuple[int, Fault]]) -> None:
    assert found(rows) == findings


def test_a_rewritten_tail_shows_by_the_published_heads_and_by_nothing_else() -> None:
    assert walked(rewritten_from(9), {}).is_intact
    [finding] = walked(rewritten_from(9)).findings
    assert "row 5 still agrees, so what differs lies after it" in finding.detail
    assert HEADS[12][0].hash in finding.detail


def test_times_that_go_back_show_although_the_chain_is_right() -> None:
    rows = chained(3)
    late = replace(rows[2], at="2025-01-01T00:00:00.000000Z")
    rows[2] = replace(late, hash=late.own_hash())
    assert [(each.number, each.fault) for each in walked(rows, {}).findings] == [(3, Fault.TIME_BACK)]


def test_a_chain_in_ruins_is_counted_whole_and_listed_in_part() -> None:
    rows = [replace(row, subject="bob") for row in chained(LISTED_MAX + 50)]
    ruins = walked(rows, {})
    assert (len(ruins.findings), ruins.findings_total) == (LISTED_MAX, LISTED_MAX + 50)
    assert not ruins.is_intact


@pytest.mark.parametrize("forge", [rewritten_alone, rewritten_from])
def test_each_row_that_is_replaced_is_found(forge: Callable[[int], list[AuditRow]]) -> None:
    """By the row after it or by a head; only what is newer than the newest head and is the last of all is not."""
    for place in range(2, 13):
        assert not walked(forge(place)).is_intact, place
