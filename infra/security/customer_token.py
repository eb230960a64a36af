"""The customer's access token: an EdDSA JWT of 15 minutes that any router verifies without asking anybody.

How it is signed, `signed_claims.py` says. A life beyond the norm (`lifetime.py`) is refused: what a token says of its
own end is believed up to there. Time comes in as an argument.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from infra.security.keys import KeySource, SigningRing, VerifyRing
from infra.security.lifetime import ACCESS_TOKEN_LIFE_MAX_S, LifeEnded, LifeInvalid, check_life
from infra.security.signed_claims import ClaimsInvalid, sign_claims, verify_claims
from infra.topology.identifiers import UserId, parse_uuid

AUDIENCE: Final = "cell-brokerage/v1"
ACCESS_TOKEN_TTL_S: Final = ACCESS_TOKEN_LIFE_MAX_S
_TOKEN_BYTES_MAX: Final = 2048
"""An access token has some 320; a longer one is refused before a signature is verified."""


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
        return sign_claims(self._ring, AUDIENCE, {"sub": str(user_id), "iat": now_s, "exp": now_s + self.ttl_s})


class CustomerTokenVerifier:
    def __init__(self, ring: KeySource[VerifyRing]) -> None:
        self._ring = ring

    @property
    def ring(self) -> VerifyRing:
        """As it is now: what was verified by another one has to be verified again."""
        return self._ring.current()

    def verify(self, token: str, now_s: int) -> CustomerClaims:
        """What a token of ours says that has not ended. Raises CustomerTokenExpired or CustomerTokenInvalid."""
        try:
            claims, kid = verify_claims(self._ring, AUDIENCE, token, bytes_max=_TOKEN_BYTES_MAX)
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
        except (ClaimsInvalid, ValueError, TypeError, AttributeError) as error:
            raise CustomerTokenInvalid("the access token is not ours") from error
        return CustomerClaims(UserId(user_id), expires_at_s, issued_at_s, kid)
