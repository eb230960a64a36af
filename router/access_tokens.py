"""Access tokens as this router gives them out: by its own clock, under the key that is active now.

The answer to an attempt that is repeated must be the same, so its token is issued as of the attempt's first time:
whoever signs the same second with the same key writes the same token.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from infra.security.customer_token import CustomerTokenSigner

_BELIEVED_S: Final = 15
"""How far what a cell says of that may be from our own clock: the time in which an attempt may be repeated, and some
seconds that clocks differ by. Beyond it our own clock counts."""


class AccessTokens:
    def __init__(self, signer: CustomerTokenSigner, now: Callable[[], float]) -> None:
        self._signer = signer
        self._now = now
        self.ttl_s = signer.ttl_s

    def issue(self, user_id: UUID, begun_at_s: int | None = None) -> str:
        now_s = int(self._now())
        is_believed = begun_at_s is not None and abs(now_s - begun_at_s) <= _BELIEVED_S
        return self._signer.sign(user_id, begun_at_s if begun_at_s is not None and is_believed else now_s)
