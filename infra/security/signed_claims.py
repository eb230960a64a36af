"""Claims under an Ed25519 signature: the form of our own tokens that more than one process verifies (EdDSA JWT).

The only algorithm is EdDSA and the key comes from our ring by `kid`, whatever the header claims: `none`, HMAC with the
public key as its secret, and unknown keys are all the same refusal. What a token is for is its audience, which is
signed, so a token of one kind is never valid as another. Times are judged by `lifetime.py`, not here.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import jwt

from infra.security.keys import KeySource, SigningRing, VerifyRing

ISSUER: Final = "cell-brokerage"
_ALGORITHM: Final = "EdDSA"
_SPELLED: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")
"""The last part is a signature of 64 bytes. Decoders skip odd letters, padding and spare bits, so one token could
otherwise be spelled in endless ways, each of them verified, remembered and counted anew."""
WHAT_A_FORGER_CAUSES: Final = (
    jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError, UnicodeError, OverflowError, RecursionError
)  # fmt: skip
DECODE_OPTIONS: Final[Any] = {
    "require": ["exp", "iat", "sub", "iss", "aud"],
    "verify_exp": False,  # by our own clock, by who asks
    "verify_iat": False,
    "verify_nbf": False,
}


class ClaimsInvalid(Exception):
    """Not signed by us, or not for this. Deliberately says no more."""


def sign_claims(source: KeySource[SigningRing], audience: str, claims: Mapping[str, Any]) -> str:
    ring = source.current()
    signed = {"iss": ISSUER, "aud": audience, **claims}
    return jwt.encode(signed, ring.keys[ring.active], algorithm=_ALGORITHM, headers={"kid": ring.active})


def verify_claims(
    source: KeySource[VerifyRing], audience: str, token: str, *, bytes_max: int
) -> tuple[dict[str, Any], str]:
    """The claims, and which key signed them. Raises ClaimsInvalid; a longer token is refused before a signature is
    verified."""
    if len(token) > bytes_max or not _SPELLED.fullmatch(token):
        raise ClaimsInvalid
    try:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid", "")
        key = source.current().keys.get(kid)
        if key is None or header.get("alg") != _ALGORITHM:
            raise ClaimsInvalid
        claims = jwt.decode(
            token, key, algorithms=[_ALGORITHM], audience=audience, issuer=ISSUER, options=DECODE_OPTIONS
        )
    except WHAT_A_FORGER_CAUSES as error:
        raise ClaimsInvalid from error
    return claims, kid
