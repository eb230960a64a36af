"""`/operator/v1/moves`: what the mover asks of the cell that a user leaves and of the cell that they come to.

The mover carries bytes and compares; who owns the user is decided here, by one procedure call for each step
(`ownership.py`). Every call may be repeated. Until `/depart` has committed, letting go is always possible; from then on
the certificate is all that counts, and it leaves this cell only by being read back after the commit. Nothing here opens
another cell's database.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from cell.instant import one_instant
from cell.move import export, ownership
from cell.move.delivery import PATH
from cell.move.export import Since
from cell.move.frame import FORMAT, FRAME_MAX_BYTES, Header, decode_frame, encode_frame
from cell.move.load import load
from cell.move.ownership import MoveOrder, one_effect
from cell.move.tables import short_name
from cell.ownership.guard import check_owner
from infra.runtime.database import Pool
from infra.runtime.fault_points import FaultPoints
from infra.runtime.problem import Problem
from infra.runtime.procedures import connected
from infra.runtime.strict_body import read_body
from infra.security.certificate import Certificate, CertificateSigner, CertificateVerifier
from infra.security.signed_document import DOCUMENT_BYTES_MAX, DocumentRefused

LEASE_MAX_MS: Final = 10_000
"""Whoever cannot write for longer notices it; a mover asks for one second."""
BEGUN, HALTED, LOADED, DEPARTED, ACTIVATED = (
    f"move.{point}" for point in ("begun", "halted", "loaded", "departed", "activated")
)
"""Fault points: the effect is committed, the answer is not given."""
_Epoch = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
_CertificateText = Annotated[str, msgspec.Meta(max_length=DOCUMENT_BYTES_MAX)]
_CellName = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]


class BeginRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    to: _CellName
    ownership_epoch: _Epoch


class ArriveRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    ownership_epoch: _Epoch
    from_cell: _CellName = msgspec.field(name="from")


class ReadRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    place: Any = None


class CatchUpRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    since: str


class HaltRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    halt_id: UUID
    lease_ms: Annotated[int, msgspec.Meta(ge=10, le=LEASE_MAX_MS)]
    since: str


class DepartRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    halt_id: UUID
    proof: dict[str, Any]


class ActivateRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    certificate: _CertificateText


class CertificateRequest(msgspec.Struct, forbid_unknown_fields=True):
    certificate: _CertificateText


class UserRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID


class AcknowledgeRequest(msgspec.Struct, forbid_unknown_fields=True):
    user_id: UUID
    what: Literal["activated", "pinned"]


@dataclass(frozen=True, slots=True)
class Movers:
    """What moving needs of this cell, beside its database. None: this process cannot sign or verify."""

    cell_name: str
    pool: Pool
    faults: FaultPoints
    signer: CertificateSigner | None
    verifier: CertificateVerifier | None


class MoveController(Controller):
    path = "/operator/v1/moves/{move_id:uuid}"

    @get("/")
    async def state(
        self, move_id: FromPath[UUID], user_id: FromQuery[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        async with connected(movers.pool) as connection:
            return await ownership.state_of(connection, user_id, move_id)

    @post("/begin", status_code=200)
    async def begin(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        body = await read_body(_decoders[BeginRequest], request)
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            await ownership.begin(connection, body.user_id, move_id, body.to, body.ownership_epoch)
        await movers.faults.reach(BEGUN)
        async with export.look(movers.pool, body.user_id, move_id) as (connection, snapshot):
            size = await export.measure(connection, body.user_id)
            head = await export.read_head(connection, body.user_id)
            mark = await export.mark_of(connection, body.user_id, snapshot)
        return {**size, "write_seq": head["write_seq"], "snapshot": mark.spell()}

    @post("/arrive", status_code=200)
    async def arrive(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        body = await read_body(_decoders[ArriveRequest], request)
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            await ownership.arrive(connection, body.user_id, move_id, body.from_cell, body.ownership_epoch)
        return {"state": "arriving"}

    @post("/read", status_code=200, media_type="application/octet-stream")
    async def read(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> Response[bytes]:
        body = await read_body(_decoders[ReadRequest], request)
        async with connected(movers.pool) as connection:
            frame, place = await export.read_page(connection, move_id, body.user_id, body.place)
        headers = {} if place is None else {"Move-Place": msgspec.json.encode(place).decode()}
        return _bytes(frame, headers)

    @post("/catch-up", status_code=200)
    async def catch_up(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> Response[bytes]:
        """What changed since the mark, and the digests of everything, at one instant while the user trades."""
        body = await read_body(_decoders[CatchUpRequest], request)
        async with export.look(movers.pool, body.user_id, move_id) as (connection, snapshot):
            mark = await export.mark_of(connection, body.user_id, snapshot)
            header = _header(move_id, body.user_id, "catch_up", "all", mark.spell())
            frame = await export.read_changes(connection, header, Since.parse(body.since), with_work=False)
        return _bytes(encode_frame(frame))

    @post("/halt", status_code=200)
    async def halt(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> Response[bytes]:
        """The user's writes stop; then what changed since the mark, and the digests of that."""
        body = await read_body(_decoders[HaltRequest], request)
        since = Since.parse(body.since)
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            lease = timedelta(milliseconds=body.lease_ms)
            await ownership.halt(connection, body.user_id, move_id, body.halt_id, lease)
        await movers.faults.reach(HALTED)
        header = _header(move_id, body.user_id, "halt", "changed", None)
        async with connected(movers.pool) as connection, one_instant(connection):
            frame = await export.read_changes(connection, header, since, with_work=True)
        return _bytes(encode_frame(frame))

    @post("/load", status_code=200, request_max_body_size=FRAME_MAX_BYTES)
    async def load(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        """Write a frame here, and say what is here: the proof."""
        frame = decode_frame(await request.body())
        if frame.header.move_id != str(move_id):
            raise Problem(422, "FRAME_INVALID", "the frame is another move's")
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            proof = await load(connection, frame)
        await movers.faults.reach(LOADED)
        return proof

    @post("/depart", status_code=200)
    async def depart(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        """The point of no return. Raises 409 LEASE_OVER."""
        body = await read_body(_decoders[DepartRequest], request)
        if movers.signer is None:
            raise _not_equipped()
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            await ownership.depart(
                connection,
                movers.signer,
                movers.cell_name,
                user_id=body.user_id,
                move_id=move_id,
                halt_id=body.halt_id,
                proof=body.proof,
                digests=_digests(body.proof),
            )
        await movers.faults.reach(DEPARTED)
        async with connected(movers.pool) as connection:
            return {"certificate": await ownership.certificate_of(connection, body.user_id, move_id)}

    @post("/activate", status_code=200)
    async def activate(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        """Raises 409 CERTIFICATE_REFUSED, MOVE_CONFLICT."""
        body = await read_body(_decoders[ActivateRequest], request)
        certificate = _verified(movers, body.certificate)
        if (certificate.user_id, certificate.move_id) != (body.user_id, move_id):
            raise Problem(409, "CERTIFICATE_REFUSED", "it is about another user or another move")
        return await _activate(movers, certificate, body.certificate, _order(request))

    @post("/release", status_code=200)
    async def release(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        body = await read_body(_decoders[UserRequest], request)
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            await ownership.release(connection, body.user_id, move_id)
        return {"state": "released"}

    @post("/discard", status_code=200)
    async def discard(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        body = await read_body(_decoders[UserRequest], request)
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            await ownership.discard(connection, body.user_id, move_id)
        return {"state": "discarded"}

    @post("/acknowledge", status_code=200)
    async def acknowledge(
        self, request: Request[Any, Any, Any], move_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        body = await read_body(_decoders[AcknowledgeRequest], request)
        async with one_effect(movers.pool, move_id, _order(request)) as connection:
            await ownership.acknowledge(connection, body.user_id, move_id, body.what)
        return {"state": "departed"}


class Certificates(Controller):
    """What another cell says without anybody's token (`delivery.py`): the certificate is its own credential."""

    path = PATH

    @post("/", status_code=200)
    async def take(self, request: Request[Any, Any, Any], movers: NamedDependency[Movers]) -> dict[str, Any]:
        """Raises 409 CERTIFICATE_REFUSED, MOVE_CONFLICT."""
        body = await read_body(_decoders[CertificateRequest], request)
        return await _activate(movers, _verified(movers, body.certificate), body.certificate, None)


def _verified(movers: Movers, text: str) -> Certificate:
    """Raises Problem."""
    if movers.verifier is None:
        raise _not_equipped()
    try:
        certificate = movers.verifier.verify(text)
    except DocumentRefused as error:
        raise Problem(409, "CERTIFICATE_REFUSED", str(error)) from error
    if certificate.to_cell != movers.cell_name:
        raise Problem(409, "CERTIFICATE_REFUSED", f"it is for {certificate.to_cell}")
    return certificate


async def _activate(movers: Movers, certificate: Certificate, text: str, order: MoveOrder | None) -> dict[str, Any]:
    async with one_effect(movers.pool, certificate.move_id, order) as connection:
        await ownership.activate(connection, certificate, text)
    await movers.faults.reach(ACTIVATED)
    numbers = {"ownership_epoch": certificate.ownership_epoch, "write_seq": certificate.write_seq}
    return {"state": "active", **numbers}


class MoveReads(Controller):
    path = "/operator/v1/users/{user_id:uuid}"

    @get("/size")
    async def size(self, user_id: FromPath[UUID], movers: NamedDependency[Movers]) -> dict[str, Any]:
        """Rows and bytes that a move would carry, and what it would be refused for. Raises 404, 421."""
        async with connected(movers.pool) as connection, one_instant(connection):
            await check_owner(connection, user_id)
            size = await export.measure(connection, user_id)
            return {**size, "unfinished": await export.unfinished(connection, user_id)}

    @post("/attest", status_code=200)
    async def attest(
        self, request: Request[Any, Any, Any], user_id: FromPath[UUID], movers: NamedDependency[Movers]
    ) -> dict[str, Any]:
        """Rows and digests of each table, the head, and what a recomputation found. Raises 404, 421."""
        await read_body(_decoders[_Nothing], request)
        async with connected(movers.pool) as connection, one_instant(connection):
            await check_owner(connection, user_id)
            return await export.attest(connection, user_id)


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


_decoders: Final[dict[Any, Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (
        BeginRequest,
        ArriveRequest,
        ReadRequest,
        CatchUpRequest,
        HaltRequest,
        DepartRequest,
        ActivateRequest,
        CertificateRequest,
        UserRequest,
        AcknowledgeRequest,
        _Nothing,
    )
}


def _order(request: Request[Any, Any, Any]) -> MoveOrder | None:
    return MoveOrder.parse(request.headers.get("move-order"))


def _header(move_id: UUID, user_id: UUID, kind: Any, attest: Any, snapshot: str | None) -> Header:
    return Header(FORMAT, str(move_id), str(user_id), kind, [], 0, snapshot=snapshot, attest=attest)


def _bytes(document: bytes, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(document, media_type="application/octet-stream", headers=headers)


def _digests(proof: dict[str, Any]) -> dict[str, str]:
    """Raises Problem 422."""
    try:
        return {short_name(table): str(said["digest"]) for table, said in proof["tables"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise Problem(422, "INVALID_FIELD", "proof: what the target answered", field="proof") from error


def _not_equipped() -> Problem:
    return Problem(
        503, "MOVES_NOT_CONFIGURED", "this process has no keys of its own: CELL_OWN_KEYS_DIR, CELL_MOVER_DSN"
    )
