"""Who an operator is, what they may do and why: signed by the control service alone, for operator ports only.

Processes hold the public keys, so none of them can make a token; the cells' symmetric ring signs route tokens and
nothing else. A step of an operation carries the number of the lease under which it is executed, so that a cell can
refuse a former leader's (`fence`); a person's token has none.
A token is for one request (method and path, at one cell or at the exchange), or it serves looking alone: whoever sees a
token of somebody else's step can do nothing but that step again.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

from infra.security.keys import KeySource, SigningRing, VerifyRing
from infra.security.lifetime import OPERATOR_TOKEN_LIFE_MAX_S, LifeEnded, LifeInvalid, check_life
from infra.security.roles import Role
from infra.security.signed_claims import ClaimsInvalid, sign_claims, verify_claims
from infra.security.why import check_why

_AUDIENCE: Final = "cell-brokerage/operators"
_TOKEN_BYTES_MAX: Final = 12_288
"""Five hundred characters of a reason are 6,000 bytes of JSON at the most, and 8,000 in base 64."""
_FENCE_MAX: Final = 2**63 - 1
"""What a database's bigint holds."""
_REQUEST_CHARS_MAX: Final = 300
"""Three ids of our paths and their words are half of it."""
_ID_BYTES: Final = 9
"""Random ones: never twice."""


class OperatorTokenInvalid(Exception):
    """Not an operator token of ours, or an old one."""


@dataclass(frozen=True, slots=True)
class OperatorClaims:
    subject: str
    role: Role
    why: str | None
    """The reason, in the person's own words."""
    fence: int | None
    request: str | None
    """The only one that it is for (`request_name`); None: it serves looking."""
    token_id: str


def new_token_id() -> str:
    """By which the log lines of who signs a token and of who is asked with it find each other; no secret."""
    return secrets.token_urlsafe(_ID_BYTES)


def sign_operator_token(
    ring: KeySource[SigningRing],
    *,
    subject: str,
    role: Role,
    now_s: int,
    lives_s: int,
    why: str | None = None,
    fence: int | None = None,
    request: str | None = None,
    token_id: str | None = None,
) -> str:
    """The caller has checked the reason (`check_why`). Without an id it gets a new one."""
    claims: dict[str, Any] = {
        "sub": subject,
        "role": str(role),
        "iat": now_s,
        "exp": now_s + lives_s,
        "jti": token_id or new_token_id(),
    }
    if why is not None:
        claims["why"] = why
    if fence is not None:
        claims["fence"] = fence
    if request is not None:
        claims["request"] = request
    return sign_claims(ring, _AUDIENCE, claims)


def verify_operator_token(ring: KeySource[VerifyRing], token: str, now_s: int) -> OperatorClaims:
    """Who the operator is, what they may do and why. Raises OperatorTokenInvalid."""
    try:
        claims, _ = verify_claims(ring, _AUDIENCE, token, bytes_max=_TOKEN_BYTES_MAX)
        check_life(
            now_s=now_s,
            life_max_s=OPERATOR_TOKEN_LIFE_MAX_S,
            expires_at_s=claims["exp"],
            issued_at_s=claims["iat"],
            not_before_s=claims.get("nbf"),
        )
        return _claims(claims)
    except LifeEnded as error:
        raise OperatorTokenInvalid("operator token has expired") from error
    except LifeInvalid as error:
        raise OperatorTokenInvalid(f"operator token {error}") from error
    except (ClaimsInvalid, ValueError, KeyError) as error:
        raise OperatorTokenInvalid("not an operator token") from error


def _claims(claims: dict[str, Any]) -> OperatorClaims:
    """Raises ValueError, KeyError."""
    subject, role, token_id = claims["sub"], Role(claims["role"]), claims["jti"]
    why, fence, request = claims.get("why"), claims.get("fence"), claims.get("request")
    if not (type(subject) is str and subject and type(token_id) is str):
        raise ValueError("no name")
    if why is not None:
        if type(why) is not str:
            raise ValueError("no reason")
        check_why(why)
    if fence is not None and (type(fence) is not int or not 0 < fence <= _FENCE_MAX):
        raise ValueError("no number of a lease")
    if request is not None and (type(request) is not str or not 0 < len(request) <= _REQUEST_CHARS_MAX):
        raise ValueError("no request")
    return OperatorClaims(subject, role, why, fence, request, token_id)
