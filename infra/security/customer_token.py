"""The customer's access token: an EdDSA JWT of 15 minutes that any router verifies without asking anybody.

The only algorithm is EdDSA and the key comes from our ring by `kid`, whatever the header claims: `none`, HMAC with the
public key as its secret, and unknown keys are all the same refusal. So is a life beyond the norm (`lifetime.py`): what
a token says of its own end is believed up to there. Time comes in as an argument.
"""

import re
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import jwt

from infra.security.keys import KeySource, SigningRing, VerifyRing
from infra.security.lifetime import ACCESS_TOKEN_LIFE_MAX_S, LifeEnded, LifeInvalid, check_life
from infra.topology.identifiers import UserId, parse_uuid

ISSUER: Final = "cell-brokerage"
AUDIENCE: Final = "cell-brokerage/v1"
ACCESS_TOKEN_TTL_S: Final = ACCESS_TOKEN_LIFE_MAX_S
_ALGORITHM: Final = "EdDSA"
_TOKEN_BYTES_MAX: Final = 2048
"""An access token has some 320; a longer one is refused before a signature is verified."""
_SPELLED: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")
"""The last part is a signature of 64 bytes. Decoders skip odd letters, padding and spare bits, so one token could
otherwise be spelled in endless ways, each of them verified, remembered and counted anew."""
_WHAT_A_FORGER_CAUSES: Final = (
    jwt.PyJWTError, ValueError, TypeError, AttributeError, UnicodeError, OverflowError, RecursionError
)  # fmt: skip
_DECODE_OPTIONS: Final[Any] = {
    "require": ["exp", "iat", "sub", "iss", "aud"],
    "verify_exp": False,  # by our own clock, below
    "verify_iat": False,
    "verify_nbf": False,
}


class CustomerTokenInvalid(Exception):
    """Not a token of ours."""


class CustomerTokenExpired(CustomerTokenInvalid):
    """Was ours, is too old."""


@dataclass(frozen=True, slots=True)
class CustomerClaims:
    user_id: UserId
    expires_at_s: int
    issued_at_s: int
    kid: str
    """The key that signed it."""


class CustomerTokenSigner:
    def __init__(self, ring: KeySource[SigningRing], *, ttl_s: int = ACCESS_TOKEN_TTL_S) -> None:
        self._ring = ring
        self.ttl_s = ttl_s

    def sign(self, user_id: UUID, now_s: int) -> str:
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": str(user_id), "iat": now_s, "exp": now_s + self.ttl_s}
        ring = self._ring.current()
        return jwt.encode(claims, ring.keys[ring.active], algorithm=_ALGORITHM, headers={"kid": ring.active})


class CustomerTokenVerifier:
    def __init__(self, ring: KeySource[VerifyRing]) -> None:
        self._ring = ring

    @property
    def ring(self) -> VerifyRing:
        """As it is now: what was verified by another one has to be verified again."""
        return self._ring.current()

    def verify(self, token: str, now_s: int) -> CustomerClaims:
        """What a token of ours says that has not ended. Raises CustomerTokenExpired or CustomerTokenInvalid."""
        if len(token) > _TOKEN_BYTES_MAX or not _SPELLED.fullmatch(token):
            raise CustomerTokenInvalid("the access token is not ours")
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid", "")
            key = self._ring.current().keys.get(kid)
            if key is None or header.get("alg") != _ALGORITHM:
                raise CustomerTokenInvalid("the access token is not ours")
            claims = jwt.decode(
                token, key, algorithms=[_ALGORITHM], audience=AUDIENCE, issuer=ISSUER, options=_DECODE_OPTIONS
            )
            user_id, expires_at_s, issued_at_s = parse_uuid(claims["sub"]), claims["exp"], claims["iat"]
            check_life(
                now_s=now_s,
                life_max_s=ACCESS_TOKEN_LIFE_MAX_S,
                expires_at_s=expires_at_s,
                issued_at_s=issued_at_s,
                not_before_s=claims.get("nbf"),
            )
        except LifeEnded as error:
            raise CustomerTokenExpired("the access token has expired") from error
        except LifeInvalid as error:
            raise CustomerTokenInvalid(f"the access token {error}") from error
        except _WHAT_A_FORGER_CAUSES as error:
            raise CustomerTokenInvalid("the access token is not ours") from error
        return CustomerClaims(UserId(user_id), expires_at_s, issued_at_s, kid)
