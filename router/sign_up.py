"""Sign-up spans two databases without a transaction over both: claim the email, create the user, confirm the claim.

The claim fixes user id and cell before anything exists, creation in the cell is idempotent by user, and each step
may be repeated. So a crash anywhere leaves a pending claim, which the client's retry resumes and the sweep finishes
or frees. Whoever resumes or replays must know the password that the account was created with: that is what the cell
checks, when it creates no less than later, so two passwords at once are never both answered 201, and the control
database holds nothing derived from a password.
"""

import hmac
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from infra.runtime.fault_points import FaultPoints
from infra.runtime.problem import Problem
from infra.security.email_form import mailed
from infra.security.email_hash import EmailHasher
from infra.topology.identifiers import CellId
from router.cell_calls import CellAnswer, CellCalls, as_refusal, session_of
from router.cell_directory import CellDirectory
from router.errors import CellUnavailable, OutcomeUnknown
from router.placement import IdNotFound, NoOpenCell, choose_cell, mint_user_id
from router.queries import ClaimOutcome, ControlQueries

_LOADS_KEPT_S: Final = 2.0
"""Loads are counted by the control database, which every sign-up would else ask twice."""


class NewUser(msgspec.Struct):
    email: str
    password: str
    name: str | None = None
    source: str | None = None
    """The address that the client's connection comes from."""


@dataclass(frozen=True, slots=True)
class SignedUp:
    user_id: UUID
    cell_id: str
    refresh_token: str
    is_replay: bool


class SignUp:
    """Claim the email, create the account in the cell, activate the claim: each step may be repeated."""

    def __init__(
        self,
        directory: CellDirectory,
        queries: ControlQueries,
        calls: CellCalls,
        hasher: EmailHasher,
        faults: FaultPoints,
    ) -> None:
        self._directory = directory
        self._queries = queries
        self._calls = calls
        self._hasher = hasher
        self._faults = faults
        self._loads: dict[str, int] = {}
        self._loads_until_s = 0.0

    async def sign_up(self, user: NewUser, key: str, request_id: str) -> SignedUp:
        """Raises Problem for what the client must change; RouterRefusal, OutcomeUnknown for what may be tried again."""
        claim = await self._claim(user, key)
        assert claim.email_hash is not None
        assert claim.user_id is not None
        assert claim.cell_id is not None
        await self._faults.reach("sign_up.after_claim")
        if claim.outcome == "replayed":
            answer = await self._check_password(claim.user_id, user, request_id)
        else:
            answer = await self._create(user, claim.user_id, CellId(claim.cell_id), request_id)
            await self._faults.reach("sign_up.after_create")
            # The sweep took it for abandoned, and somebody else may have the email now.
            if not await self._queries.activate_claim(claim.email_hash, claim.user_id):
                raise OutcomeUnknown("the sign-up was overtaken; send it again with the same idempotency key")
        token = session_of(answer).refresh_token
        return SignedUp(claim.user_id, claim.cell_id, token, is_replay=claim.outcome in ("resumed", "replayed"))

    async def _claim(self, user: NewUser, key: str) -> ClaimOutcome:
        shard_map = self._directory.shard_map()
        try:
            cell = choose_cell(shard_map.cells, await self._current_loads(), self._directory.is_reachable)
            user_id = mint_user_id(shard_map, cell)
        except (NoOpenCell, IdNotFound) as error:
            raise CellUnavailable(str(error)) from error
        # Counted when chosen, not when claimed: sign-ups that come together must not all choose the same cell.
        self._loads[cell.cell_id] = self._loads.get(cell.cell_id, 0) + 1
        email_hashes = self._hasher.to_claim(user.email)
        claim = await self._queries.claim_email(
            email_hashes=email_hashes,
            fingerprints=[_fingerprint(user, email_hash) for email_hash in email_hashes],
            key=key,
            user_id=user_id,
            cell_id=cell.cell_id,
        )
        if claim.outcome == "key_reused":
            raise _key_reused()
        if claim.outcome == "email_taken":
            raise Problem(409, "EMAIL_TAKEN", "somebody has this email already", field="email")
        return claim

    async def _current_loads(self) -> dict[str, int]:
        if time.monotonic() >= self._loads_until_s:
            self._loads_until_s = time.monotonic() + _LOADS_KEPT_S
            self._loads = await self._queries.cell_loads()
        return self._loads

    async def _create(self, user: NewUser, user_id: UUID, cell_id: CellId, request_id: str) -> CellAnswer:
        """The cell creates the account, or finds it made and takes no other password than the one it was made with."""
        body = {"email": mailed(user.email), "name": user.name, "password": user.password, "source": user.source}
        answer = await self._calls.post(user_id, "/internal/v1/accounts", body, request_id=request_id, cell_id=cell_id)
        if answer.status == 201:
            return answer
        raise as_refusal(answer)

    async def _check_password(self, user_id: UUID, user: NewUser, request_id: str) -> CellAnswer:
        body = {"password": user.password, "source": user.source}
        answer = await self._calls.post(user_id, "/internal/v1/sessions", body, request_id=request_id)
        if answer.status == 200:
            return answer
        # The same key with another password: another sign-up.
        if answer.status == 401:
            raise _key_reused()
        raise as_refusal(answer)


def _fingerprint(user: NewUser, email_hash: bytes) -> bytes:
    """Of the request without the password."""
    return hmac.digest(email_hash, b"POST /v1/users\n" + msgspec.json.encode(user.name), "sha256")


def _key_reused() -> Problem:
    return Problem(422, "IDEMPOTENCY_KEY_REUSED", "this idempotency key was used for another sign-up")
