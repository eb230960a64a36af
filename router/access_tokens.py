"""Access tokens as this router gives them out: by its own clock, under the key that is active now."""

from collections.abc import Callable
from uuid import UUID

from infra.security.customer_token import CustomerTokenSigner


class AccessTokens:
    def __init__(self, signer: CustomerTokenSigner, now: Callable[[], float]) -> None:
        self._signer = signer
        self._now = now
        self.ttl_s = signer.ttl_s

    def issue(self, user_id: UUID) -> str:
        return self._signer.sign(user_id, int(self._now()))
