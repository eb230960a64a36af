"""Sign a token for an operator port with the stack's own key: what the control service does, and this machine for it
while it is away."""

from dataclasses import dataclass, field
from typing import Final

from infra.backends.backend import Backend
from infra.security.keys import OPERATOR_SIGNING_FILE, load_signing_ring
from infra.security.operator_token import new_token_id, sign_operator_token
from infra.security.roles import Role
from infra.security.why import WHY_MAX
from shardctl.operator_tokens import Token
from shardctl.stack.current import stack_clock

TOKEN_LIFETIME_S: Final = 300
"""It is checked when a request arrives, so a long check outlives it."""


@dataclass(frozen=True, slots=True)
class Signed:
    token: str = field(repr=False)
    token_id: str
    ends_at_s: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Who may read the key file of a stack. It is read each time, so the key that signs is the active one."""

    backend: Backend

    def sign(
        self,
        *,
        subject: str,
        role: Role,
        request: str | None = None,
        reason: str | None = None,
        fence: int | None = None,
    ) -> Signed:
        """Without a request the token serves looking. Raises KeyFileInvalid."""
        now_s, token_id = int(stack_clock(self.backend).epoch_s()), new_token_id()
        token = sign_operator_token(
            load_signing_ring(self.backend.keys_folder / OPERATOR_SIGNING_FILE),
            subject=subject,
            role=role,
            now_s=now_s,
            lives_s=TOKEN_LIFETIME_S,
            why=reason,
            fence=fence,
            token_id=token_id,
            request=request,
        )
        return Signed(token, token_id, now_s + TOKEN_LIFETIME_S)


def token_of_step(backend: Backend, *, subject: str, reason: str | None, fence: int | None) -> Token:
    """For a step of an operation that `subject` asked for. An operation keeps its whole reason; a cell keeps the
    beginning of a longer one."""

    async def token(request: str) -> str:
        signed = TokenSigner(backend).sign(
            subject=subject, role=Role.OPERATOR, request=request, reason=reason and reason[:WHY_MAX], fence=fence
        )
        return signed.token

    return token
