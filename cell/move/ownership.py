"""Who owns a moving user: one procedure call for each step, and the refusals in the mover's words.

What is decided here is decided under the user's row lock. A request that a later one of its move has overtaken does
nothing (`meet_move_request_v1`, in the transaction of the effect).
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

from cell import errors
from cell.move.export import read_head
from infra.runtime.database import Connection, Pool
from infra.runtime.problem import Problem
from infra.runtime.procedures import DatabaseRefused, call_on, connected
from infra.security.certificate import Certificate, CertificateSigner
from infra.topology.identifiers import CellId, Epoch, UserId

_LATE: Final = "RB043"
_MEET: Final[LiteralString] = "select meet_move_request_v1(%s, %s, %s)"
_BEGIN: Final[LiteralString] = "select outcome, figures from begin_move_v1(%s, %s, %s, %s)"
_HALT: Final[LiteralString] = "select outcome, figures from halt_user_v1(%s, %s, %s, %s)"
_RELEASE: Final[LiteralString] = "select release_move_v1(%s, %s)"
_DEPART: Final[LiteralString] = "select depart_v1(%s, %s, %s, %s, %s, %s)"
_ACKNOWLEDGE: Final[LiteralString] = "select acknowledge_departure_v1(%s, %s, %s)"
_ARRIVE: Final[LiteralString] = "select outcome, figures from arrive_v1(%s, %s, %s, %s)"
_ACTIVATE: Final[LiteralString] = "select activate_v1(%s, %s, %s, %s, %s, %s)"
_DISCARD: Final[LiteralString] = "select discard_arrival_v1(%s, %s)"
_GOING: Final[LiteralString] = """
select d.to_cell, d.ownership_epoch, d.departed_at, u.write_seq, u.entry_seq, u.order_event_seq,
       u.chain_head, clock_v1(), u.owner_state = 'halted' and u.halt_id = %s
  from brokerage.departures d join brokerage.users u on u.user_id = d.user_id
 where d.user_id = %s and d.move_id = %s
"""
_CERTIFICATE: Final[LiteralString] = (
    "select certificate from brokerage.departures where user_id = %s and move_id = %s and departed_at is not null"
)
_STATE: Final[LiteralString] = """
select d.departed_at, d.certificate, a.activated_at, a.move_id, u.owner_state, a.ownership_epoch, u.write_seq,
       ownership_v1(u.owner_state, u.lease_ends_at), u.operation_id
  from (values (%(user)s::uuid, %(move)s::uuid)) as asked (user_id, move_id)
  left join brokerage.users u on u.user_id = asked.user_id
  left join brokerage.departures d on d.user_id = asked.user_id and d.move_id = asked.move_id
  left join brokerage.arrivals a on a.user_id = asked.user_id and a.move_id = asked.move_id
"""


@dataclass(frozen=True, slots=True)
class MoveOrder:
    """Of a request: the number of its leader's lease, and its own in that leader's process."""

    lease: int
    number: int

    @classmethod
    def parse(cls, value: str | None) -> "MoveOrder | None":
        """Raises Problem 422."""
        if value is None:
            return None
        lease, _, number = value.partition("-")
        if not (lease.isascii() and lease.isdigit() and number.isascii() and number.isdigit()) or len(value) > 40:
            raise Problem(422, "INVALID_FIELD", "Move-Order: two whole numbers, as 17-4", field="Move-Order")
        return cls(int(lease), int(number))


@asynccontextmanager
async def one_effect(pool: Pool, move_id: UUID, order: MoveOrder | None) -> AsyncIterator[Connection]:
    """One transaction, refused if a later request of the move was met. Raises Problem 409, a DatabaseFailure."""
    try:
        async with connected(pool) as connection, connection.transaction():
            if order is not None:
                await connection.execute(_MEET, [move_id, order.lease, order.number])
            yield connection
    except DatabaseRefused as error:
        if error.sqlstate != _LATE:
            raise
        raise Problem(409, "MOVE_CONFLICT", "a later request of this move was met: this one does nothing") from error


async def begin(connection: Connection, user_id: UUID, move_id: UUID, to: str, ownership_epoch: int) -> None:
    """Raises Problem: 404, 421, 409."""
    [(outcome, figures)] = await call_on(connection, _BEGIN, [user_id, move_id, to, ownership_epoch])
    if outcome != "begun":
        raise _refused(outcome, figures)


async def halt(connection: Connection, user_id: UUID, move_id: UUID, halt_id: UUID, lease: timedelta) -> None:
    """Raises Problem 409."""
    [(outcome, figures)] = await call_on(connection, _HALT, [user_id, move_id, halt_id, lease])
    if outcome != "halted":
        raise _refused(outcome, figures)


async def release(connection: Connection, user_id: UUID, move_id: UUID) -> None:
    """Raises Problem 409: they have left."""
    [(outcome,)] = await call_on(connection, _RELEASE, [user_id, move_id])
    if outcome == "DEPARTED":
        raise Problem(409, "MOVE_CONFLICT", "departed: the move only goes forward from here")


async def depart(
    connection: Connection,
    signer: CertificateSigner,
    cell_name: str,
    *,
    user_id: UUID,
    move_id: UUID,
    halt_id: UUID,
    proof: Mapping[str, Any],
    digests: Mapping[str, str],
) -> None:
    """The certificate is made first, of what the books say now, and stored only if they say so still, under the lock.
    Raises Problem 409: LEASE_OVER, MOVE_CONFLICT, EPOCH_TOO_LOW."""
    going = await call_on(connection, _GOING, [halt_id, user_id, move_id])
    if not going:
        raise Problem(409, "MOVE_CONFLICT", "this move does not have the user")
    [(to, epoch, departed_at, write_seq, entry_seq, order_event_seq, chain_head, now, is_halted)] = going
    if departed_at is not None:
        return
    if not is_halted:
        raise _lease_over()
    if proof.get("head") != await read_head(connection, user_id) or any(proof.get("findings", {"?": 1}).values()):
        raise Problem(409, "MOVE_CONFLICT", "the target's copy is not what is here: nothing was done")
    certificate = signer.sign(
        Certificate(
            move_id=move_id,
            user_id=UserId(user_id),
            from_cell=CellId(cell_name),
            to_cell=CellId(to),
            ownership_epoch=Epoch(epoch),
            write_seq=write_seq,
            entry_seq=entry_seq,
            order_event_seq=order_event_seq,
            chain_head=bytes(chain_head).hex(),
            digests=digests,
            departed_at=now.astimezone(UTC),
        )
    )
    [(outcome,)] = await call_on(
        connection, _DEPART, [user_id, move_id, halt_id, write_seq, bytes(chain_head), certificate]
    )
    match outcome:
        case "departed" | "already":
            return
        case "LEASE_OVER":
            raise _lease_over()
    raise _refused(outcome, {})


def _lease_over() -> Problem:
    return Problem(409, "LEASE_OVER", "the halt has ended by itself: look again, halt again")


async def certificate_of(connection: Connection, user_id: UUID, move_id: UUID) -> str:
    """After the commit. Raises Problem 409."""
    rows = await call_on(connection, _CERTIFICATE, [user_id, move_id])
    if not rows:
        raise Problem(409, "MOVE_CONFLICT", "this move has not departed")
    return str(rows[0][0])


async def acknowledge(connection: Connection, user_id: UUID, move_id: UUID, what: str) -> None:
    """Raises Problem 409."""
    [(known,)] = await call_on(connection, _ACKNOWLEDGE, [user_id, move_id, what])
    if not known:
        raise Problem(409, "MOVE_CONFLICT", "this move has not departed")


async def arrive(connection: Connection, user_id: UUID, move_id: UUID, from_cell: str, ownership_epoch: int) -> None:
    """Raises Problem 409."""
    [(outcome, figures)] = await call_on(connection, _ARRIVE, [user_id, move_id, from_cell, ownership_epoch])
    if outcome != "arriving":
        raise _refused(outcome, figures)


async def activate(connection: Connection, certificate: Certificate, text: str) -> None:
    """Raises Problem 409. The caller has verified the certificate."""
    [(outcome,)] = await call_on(
        connection,
        _ACTIVATE,
        [
            certificate.user_id,
            certificate.move_id,
            certificate.ownership_epoch,
            certificate.write_seq,
            bytes.fromhex(certificate.chain_head),
            text,
        ],
    )
    if outcome not in ("active", "already"):
        raise _refused(outcome, {})


async def discard(connection: Connection, user_id: UUID, move_id: UUID) -> None:
    """Raises Problem 409: the user is owned here."""
    [(outcome,)] = await call_on(connection, _DISCARD, [user_id, move_id])
    if outcome == "ACTIVE":
        raise Problem(409, "MOVE_CONFLICT", "the user is active here: nothing is discarded")


async def state_of(connection: Connection, user_id: UUID, move_id: UUID) -> dict[str, Any]:
    """How far this move is in this cell, also after the user went on elsewhere."""
    cursor = await connection.execute(_STATE, {"user": user_id, "move": move_id})
    row = await cursor.fetchone()
    assert row is not None
    departed_at, certificate, activated_at, arrival, owner_state, epoch, write_seq, owned, operation_id = row
    if departed_at is not None:
        return {"side": "source", "state": "departed", "certificate": certificate}
    if activated_at is not None:
        numbers = {"ownership_epoch": epoch, "write_seq": write_seq}
        return {"side": "target", "state": "active", "certificate": None, **numbers}
    if arrival is not None:
        return {"side": "target", "state": "arriving", "certificate": None}
    if operation_id == move_id:
        halted = owner_state == "halted" and owned is not None
        return {"side": "source", "state": "halted" if halted else "copying", "certificate": None}
    return {"side": None, "state": "none", "certificate": None}


def _refused(outcome: str, figures: Mapping[str, Any]) -> Problem:
    match outcome:
        case "NOT_FOUND":
            return errors.user_not_found()
        case "DEPARTED":
            return errors.misdirected(figures.get("owner"), figures.get("epoch"))
        case "EPOCH_TOO_LOW":
            return Problem(409, "EPOCH_TOO_LOW", f"this cell knows a newer ownership epoch: {dict(figures)}")
        case "UNFINISHED":
            business = ", ".join(f"{number} {what}" for what, number in sorted(figures.items()))
            return Problem(
                409, "MOVE_UNFINISHED_BUSINESS", f"the user cannot leave yet: {business}", unfinished=dict(figures)
            )
    return Problem(409, "MOVE_CONFLICT", f"{_WORDS.get(outcome, outcome)} {dict(figures) or ''}".strip())


_WORDS: Final = {
    "MOVE_UNKNOWN": "this move does not have the user",
    "ARRIVING": "the user is arriving here by another move",
    "OWNED": "this cell owns the user",
    "HALTED": "the user is held read-only by a restore",
    "CHANGED": "the user's books have changed since they were proven",
    "OTHER_COPY": "the certificate speaks of another state of the user than the copy here",
    "NOT_HALTED": "the copy here was not loaded to its end",
}
