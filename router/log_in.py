"""Login by email and password, and turning a refresh token over. The cell checks both; the router only finds it.

Login needs the control database (email -> user). An email that nobody has is asked about all the same, in a cell that
its hash picks, under a user id that its hash makes: the same way, the same work and the same answer as a wrong
password, and the same guesses counted, in one cell only. Refreshing needs no control database: the refresh token
names its user, and its family tells when the session began, so the session of a revoked user ends here, also while
the user's cell does not know of it yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from infra.runtime.problem import Problem
from infra.security.email_hash import EmailHasher
from infra.topology.cells import CellState
from infra.topology.identifiers import CellId, parse_uuid_hex
from router.cell_calls import CellCalls, as_refusal, session_of
from router.cell_directory import CellDirectory
from router.errors import CellUnavailable
from router.queries import ControlQueries


@dataclass(frozen=True, slots=True)
class Session:
    user_id: UUID
    refresh_token: str
    begun_at_s: int | None = None
    """When the attempt that this answers was first made, in seconds since 1970; None: now."""


@dataclass(frozen=True, slots=True)
class Password:
    """What a client shows to log in, and from where."""

    email: str
    password: str
    source: str | None = None
    refresh_token: str | None = None
    """Any one that was given out for the account, spent or not: this device has logged in before."""


class LogIn:
    """`is_void` says of a user and the second in which a session began whether the user was revoked since."""

    def __init__(
        self,
        directory: CellDirectory,
        queries: ControlQueries,
        calls: CellCalls,
        hasher: EmailHasher,
        *,
        is_void: Callable[[UUID, int], bool] = lambda user_id, begun_at_s: False,
    ) -> None:
        self._directory = directory
        self._is_void = is_void
        self._queries = queries
        self._calls = calls
        self._hasher = hasher

    async def by_password(self, shown: Password, request_id: str) -> Session:
        """Raises `Problem` (401 wrong, 429 too many guesses) and a `RouterRefusal` for what may be tried again."""
        hashes = self._hasher.to_find(shown.email)
        claim = await self._queries.find_claim(hashes)
        if claim is None or claim.state != "active":
            user_id, cell_id = self._nobody(self._hasher.hash(shown.email))
        else:
            user_id, cell_id = claim.user_id, None
        body = {"password": shown.password, "source": shown.source, "refresh_token": shown.refresh_token}
        return await self._ask(user_id, "/internal/v1/sessions", body, request_id, cell_id)

    async def by_refresh_token(self, refresh_token: str, request_id: str) -> Session:
        """Raises `Problem` (401 not ours, spent or revoked) and a `RouterRefusal` for what may be tried again."""
        user_id, begun_at_s = _read(refresh_token)
        if begun_at_s is not None and self._is_void(user_id, begun_at_s):
            raise Problem(401, "TOKEN_INVALID", "the session was revoked; log in again")
        return await self._ask(user_id, "/internal/v1/sessions/refresh", {"refresh_token": refresh_token}, request_id)

    async def _ask(
        self, user_id: UUID, path: str, body: dict[str, str | None], request_id: str, cell_id: CellId | None = None
    ) -> Session:
        answer = await self._calls.post(user_id, path, body, request_id=request_id, cell_id=cell_id)
        if answer.status == 200:
            session = session_of(answer)
            return Session(user_id, session.refresh_token, session.first_used_at_s)
        if answer.status == 404:
            raise _wrong_password()
        raise as_refusal(answer)

    def _nobody(self, email_hash: bytes) -> tuple[UUID, CellId]:
        """A user id that nobody has and the cell that is asked about it: always the same ones for one email."""
        cells = [cell for cell in self._directory.shard_map().cells if cell.state is not CellState.RETIRED]
        if not cells:
            raise CellUnavailable("no cell serves anybody at the moment")
        cell = cells[int.from_bytes(email_hash[16:24], "big") % len(cells)]
        return UUID(bytes=email_hash[:16], version=4), cell.cell_id


def _read(refresh_token: str) -> tuple[UUID, int | None]:
    """Whose it is, and the second in which its session began: `<user>.<family>.<secret>`, families are UUIDs of
    version 7. The cell judges the rest."""
    user, _, rest = refresh_token.partition(".")
    try:
        user_id = parse_uuid_hex(user)
    except ValueError:
        raise Problem(401, "TOKEN_INVALID", "the refresh token is not ours") from None
    try:
        family = parse_uuid_hex(rest.partition(".")[0])
    except ValueError:
        return user_id, None
    # UUIDv7 begins with 48 bits of milliseconds
    return user_id, (family.int >> 80) // 1000 if family.version == 7 else None


def _wrong_password() -> Problem:
    return Problem(401, "TOKEN_INVALID", "email or password is wrong")
