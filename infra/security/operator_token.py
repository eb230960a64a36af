"""What an operator may do: a subject and one of three roles, signed, for operator ports only."""

import json
from dataclasses import dataclass
from typing import Final

from infra.security.keys import KeyRing, KeySource
from infra.security.signed_text import SignedTextInvalid, sign_text, verify_text

_PURPOSE: Final = b"operator-token-v1:"
OPERATOR_ROLES: Final = frozenset({"viewer", "operator", "auditor"})


class OperatorTokenInvalid(Exception):
    """Not an operator token of ours, or an old one."""


@dataclass(frozen=True, slots=True)
class OperatorClaims:
    subject: str
    role: str


def sign_operator_token(ring: KeySource[KeyRing], *, subject: str, role: str, expires_at_s: int) -> str:
    if role not in OPERATOR_ROLES:
        raise ValueError(f"unknown role: {role!r}")
    payload = json.dumps({"sub": subject, "role": role, "exp": expires_at_s}, separators=(",", ":"))
    return sign_text(ring, _PURPOSE, payload.encode())


def verify_operator_token(ring: KeySource[KeyRing], token: str, now_s: int) -> OperatorClaims:
    try:
        claims = json.loads(verify_text(ring, _PURPOSE, token))
        subject, role, expires_at_s = claims["sub"], claims["role"], claims["exp"]
    except (SignedTextInvalid, ValueError, KeyError, TypeError) as error:
        raise OperatorTokenInvalid("not an operator token") from error
    if role not in OPERATOR_ROLES:
        raise OperatorTokenInvalid("unknown role")
    if expires_at_s <= now_s:
        raise OperatorTokenInvalid("operator token has expired")
    return OperatorClaims(subject, role)
