"""Prove the books: run every check of `sql/checks` against one instant of the database.

All checks see the same REPEATABLE READ snapshot and may write nothing, so they can run beside full traffic; they share
no code with the procedures that write. A healthy check returns no row; of a broken one the rows are counted and the
first few shown. A check that cannot run is an error of the whole trial, never a pass.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from cell.instant import one_instant
from infra.runtime.database import Connection
from infra.runtime.sql_files import SqlFile, read_sql

SAMPLE_ROWS_MAX = 20
"""Enough to see the pattern; the count says how far it goes."""
_CHUNK_ROWS = 500
"""Rows of a streamed result held at once: memory stays flat however much is wrong."""

# The connection's own statement timeout is meant for commands; a check may read the whole database.
_LIMITS = "select set_config('statement_timeout', '120s', true), set_config('work_mem', '64MB', true)"
# Every check reads whole tables; on a young table without statistics a nested loop would read them once per row.
_WHOLE_TABLES = "select set_config('enable_nestloop', 'off', true)"
_AS_OF = "select snapshot_time_v1()"
_RECORD: LiteralString = "select record_ledger_checks_v1(%s, %s, %s, %s)"
_TOTALS: LiteralString = """
select account, unit, coalesce(sum(amount_micros) filter (where direction = 'debit'), 0)::text,
       coalesce(sum(amount_micros) filter (where direction = 'credit'), 0)::text
  from all_postings p
 where not exists (select from brokerage.users u
                    where u.user_id = p.user_id and u.owner_state in ('arriving', 'departed'))
 group by account, unit order by account, unit
"""
_OWNED: Final = """
select c.* from (
{check}
) c where not exists (select from brokerage.users u
                       where u.user_id = c.user_id and u.owner_state in ('arriving', 'departed'))
"""
"""A copy is not an owner: one that arrives is not whole yet, one that was left is judged by its receipt. What a check
finds of nobody, or of a user who is not in the books at all, stays."""


@dataclass(frozen=True)
class CheckResult:
    """What one check found."""

    name: str
    violations: int
    sample: list[dict[str, Any]]
    duration_ms: float


@dataclass(frozen=True)
class AccountTotal:
    """Everything that was ever posted to one account, over all users, in one unit."""

    account: str
    unit: str
    debit_micros: int
    credit_micros: int


@dataclass(frozen=True)
class TrialBalance:
    """All checks and the totals of the ledger, at one instant."""

    as_of: datetime
    checks: list[CheckResult]
    totals: list[AccountTotal]

    @property
    def healthy(self) -> bool:
        return all(check.violations == 0 for check in self.checks)


def read_checks() -> list[SqlFile]:
    """Every check this release carries."""
    return read_sql("cell", "checks")


async def prove_and_record(connection: Connection) -> TrialBalance:
    """Run every check, and keep what they found for the metrics (`ledger_checks`). Raises what the driver raises."""
    trial = await run_trial_balance(connection)
    broken = [check.name for check in trial.checks if check.violations]
    violations = sum(check.violations for check in trial.checks)
    await connection.execute(_RECORD, (trial.as_of, len(trial.checks), violations, broken))
    return trial


async def run_trial_balance(connection: Connection, checks: Sequence[SqlFile] | None = None) -> TrialBalance:
    """Run the checks, in order of name, on an autocommit connection that is in no transaction."""
    async with one_instant(connection):
        await connection.execute(_LIMITS)
        await connection.execute(_WHOLE_TABLES)
        row = await (await connection.execute(_AS_OF)).fetchone()
        assert row is not None
        results = [await _run_check(connection, check) for check in checks or read_checks()]
        totals = await (await connection.execute(_TOTALS)).fetchall()
    return TrialBalance(
        row[0], results, [AccountTotal(a, u, int(debit), int(credit)) for a, u, debit, credit in totals]
    )


async def _run_check(connection: Connection, check: SqlFile) -> CheckResult:
    began = time.perf_counter()
    violations = 0
    sample: list[dict[str, Any]] = []
    async with connection.cursor() as cursor:
        # Streamed, so that a check that finds a million rows costs no memory for them.
        async for row in cursor.stream(_OWNED.format(check=check.text.rstrip().rstrip(";")), size=_CHUNK_ROWS):
            if violations < SAMPLE_ROWS_MAX:
                names = [column.name for column in cursor.description or ()]
                sample.append({name: _plain(value) for name, value in zip(names, row, strict=True)})
            violations += 1
    duration_ms = round((time.perf_counter() - began) * 1000, 1)
    return CheckResult(check.name.removesuffix(".sql"), violations, sample, duration_ms)


def _plain(value: object) -> str | int | bool | None:
    """A value as JSON shows it; sums of bigint are numeric, and read better as whole numbers."""
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
