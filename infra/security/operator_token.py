"""What an operator may do: a subject and a role, signed, for operator ports only.

A step of an operation carries the number of the lease under which it is executed, so that a cell can refuse a former
leader's (`fence`); a person's token has none.
"""

import json
from dataclasses import dataclass
from typing import Final

from infra.security.keys import KeyRing, KeySource
from infra.security.lifetime import OPERATOR_TOKEN_LIFE_MAX_S, LifeEnded, LifeInvalid, check_life
from infra.security.roles import Role
from infra.security.signed_text import SignedTextInvalid, sign_text, verify_text

_PURPOSE: Final = b"operator-token-v1:"
_FENCE_MAX: Final = 2**63 - 1
"""What a database's bigint holds."""


class OperatorTokenInvalid(Exception):
    """Not an operator token of ours, or an old one."""


@dataclass(frozen=True, slots=True)
class OperatorClaims:
    subject: str
    role: Role
    fence: int | None = None


def sign_operator_token(
    ring: KeySource[KeyRing], *, subject: str, role: Role, expires_at_s: int, fence: int | None = None
) -> str:
    claims: dict[str, object] = {"sub": subject, "role": role, "exp": expires_at_s}
    if fence is not None:
        claims["fence"] = fence
    payload = json.dumps(claims, separators=(",", ":"))
    return sign_text(ring, _PURPOSE, payload.encode())


def verify_operator_token(ring: KeySource[KeyRing], token: str, now_s: int) -> OperatorClaims:
    """Who the operator is and what they may do. Raises OperatorTokenInvalid."""
    try:
        claims = json.loads(verify_text(ring, _PURPOSE, token))
        subject, role = claims["sub"], Role(claims["role"])
        check_life(
            now_s=now_s,
            life_max_s=OPERATOR_TOKEN_LIFE_MAX_S,
            expires_at_s=claims["exp"],
            issued_at_s=claims.get("iat"),
            not_before_s=claims.get("nbf"),
        )
    except LifeEnded as error:
        raise OperatorTokenInvalid("operator token has expired") from error
    except LifeInvalid as error:
        raise OperatorTokenInvalid(f"operator token {error}") from error
    except (SignedTextInvalid, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OperatorTokenInvalid("not an operator token") from error
    fence = claims.get("fence")
    if fence is not None and (type(fence) is not int or not 0 < fence <= _FENCE_MAX):
        raise OperatorTokenInvalid("the number of the lease is none")
    if type(subject) is not str:
        raise OperatorTokenInvalid("the subject is no text")
    return OperatorClaims(subject, role, fence)
