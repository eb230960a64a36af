"""What the control service keeps beside operations: when schedules are due, samples of counters; and sign-ups.

Every write carries the lease's number; a former leader's raises LeaseLost. Raises a DatabaseFailure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from infra.runtime.database import Pool
from infra.runtime.procedures import call
from shardctl.operations.queries import call_control

_SCHEDULES: LiteralString = """
select s.name, s.due_at, s.begun_at, s.operation_id, coalesce(o.exit_code, 0) <> 0
  from control.schedules s left join control.operations o using (operation_id)
"""


@dataclass(frozen=True, slots=True)
class DueRow:
    name: str
    due_at: datetime
    begun_at: datetime | None
    operation_id: int | None
    has_failed: bool
    """Has that operation ended otherwise than well? False while it is worked on, and when it was pruned."""


@dataclass(frozen=True, slots=True)
class PendingClaim:
    email_hash: bytes
    user_id: str
    cell_id: str
    age_s: float


class ControlState:
    """Needs a pool of `control_leader`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def now(self) -> datetime:
        """The stack's time, by the database. Raises DatabaseFailure."""
        ((at,),) = await call(self._pool, "select clock_v1()", [])
        return at  # type: ignore[no-any-return]

    async def schedules(self) -> dict[str, DueRow]:
        """Raises DatabaseFailure."""
        rows = await call(self._pool, _SCHEDULES, [])
        return {row[0]: DueRow(*row) for row in rows}

    async def set_due(
        self, lease: int, name: str, *, after: datetime | None, due_at: datetime, operation: int | None
    ) -> bool:
        """Was this the call that changed it?"""
        ((changed,),) = await call_control(
            self._pool, "select set_due_v1(%s, %s, %s, %s, %s)", [lease, name, after, due_at, operation]
        )
        return bool(changed)

    async def record_samples(self, lease: int, samples: Sequence[dict[str, Any]]) -> None:
        await call_control(self._pool, "select record_samples_v1(%s, %s)", [lease, Jsonb(list(samples))])

    async def end_left_attempts(self, lease: int) -> int:
        """Outcomes of operations that the audit chain lacks, appended: how many."""
        ((ended,),) = await call_control(self._pool, "select end_left_attempts_v1(%s)", [lease])
        return int(ended)

    async def pending_claims(self, *, age_s: float, limit: int) -> list[PendingClaim]:
        """Raises DatabaseFailure."""
        rows = await call(
            self._pool,
            "select email_hash, user_id::text, cell_id, age_s"
            " from pending_email_claims_v1(make_interval(secs => %s), %s)",
            [age_s, limit],
        )
        return [PendingClaim(*row) for row in rows]

    async def activate_claim(self, claim: PendingClaim) -> bool:
        """Raises DatabaseFailure."""
        ((done,),) = await call(
            self._pool, "select activate_email_claim_v1(%s, %s::uuid)", [claim.email_hash, claim.user_id]
        )
        return bool(done)

    async def free_claim(self, claim: PendingClaim, *, age_s: float) -> bool:
        """Not if it is younger. Raises DatabaseFailure."""
        ((done,),) = await call(
            self._pool,
            "select free_email_claim_v1(%s, %s::uuid, make_interval(secs => %s))",
            [claim.email_hash, claim.user_id, age_s],
        )
        return bool(done)
