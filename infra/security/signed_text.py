"""`kid.payload.mac`: the shape of our own short-lived internal tokens. HMAC-SHA256 over purpose, key id and payload.

The purpose is part of what is signed, so a token of one kind is never valid as another, even under the same key.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from infra.security.keys import KeyRing, KeySource

TOKEN_BYTES_MAX: Final = 1024
"""A route token has 109; a longer text is refused before anything is computed."""


class SignedTextInvalid(Exception):
    """Malformed, under a key we do not know, or altered. Deliberately says no more."""


def sign_text(source: KeySource[KeyRing], purpose: bytes, payload: bytes) -> str:
    ring = source.current()
    signed = ring.active.encode() + b"." + _b64(payload)
    mac = hmac.digest(ring.active_key, purpose + signed, "sha256")
    return (signed + b"." + _b64(mac)).decode()


def verify_text(source: KeySource[KeyRing], purpose: bytes, token: str) -> bytes:
    """The payload. Raises `SignedTextInvalid`."""
    if len(token) > TOKEN_BYTES_MAX or not token.isascii():
        raise SignedTextInvalid
    signed, dot, mac_text = token.rpartition(".")
    kid, second_dot, payload_text = signed.partition(".")
    secret = source.current().keys.get(kid)
    if not dot or not second_dot or secret is None:
        raise SignedTextInvalid
    expected = _b64(hmac.digest(secret, purpose + signed.encode(), "sha256"))
    if not hmac.compare_digest(expected, mac_text.encode()):
        raise SignedTextInvalid
    try:
        return urlsafe_b64decode(payload_text + "=" * (-len(payload_text) % 4))
    except ValueError as error:
        raise SignedTextInvalid from error


def _b64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
