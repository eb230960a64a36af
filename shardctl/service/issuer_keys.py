"""The public keys of the organisation's issuer, by OpenID discovery: fetched when needed, kept for some minutes.

A key that the issuer withdraws stops counting when what is kept is read again. A key that is not known is asked for at
once, but not more often than every half minute, whatever arrives. While the issuer does not answer, keys go on counting
for a while, so that its outage does not lock out those who mend things; then nobody is let in this way, and the error
names the issuer. Keys that no algorithm of ours uses are left aside, symmetric ones always.
"""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shardctl.safe_url import is_safe_url

_log = logging.getLogger(__name__)
KEPT_S: Final = 300.0
"""How long a withdrawn key still counts, and how often an issuer is asked that has nothing new."""
STALE_MAX_S: Final = 3_600.0
"""While the issuer does not answer: the life of most access tokens, so nobody new gets in for long."""
AGAIN_S: Final = 30.0
"""Between two questions, whatever tokens arrive: one that names an unknown key costs nothing to make."""
_KEYS_MAX: Final = 100
"""An issuer has a handful."""
_RSA_BITS_MIN: Final = 2_048
_ALGORITHMS: Final[Mapping[tuple[str, str], str]] = {
    ("RSA", ""): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA",
}  # fmt: skip
"""By type and curve of a key: what a token under it must be signed with."""
_WELL_KNOWN: Final = "/.well-known/openid-configuration"

Fetch = Callable[[str], Awaitable[bytes]]
"""The body of a document by its URL. Raises FetchFailed."""


class FetchFailed(Exception):
    """No answer, or none with 200."""


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had."""


@dataclass(frozen=True, slots=True)
class IssuerKey:
    algorithm: str
    key: Any


def read_keys(raw: bytes) -> dict[str, IssuerKey]:
    """Of a JWKS, by key id: those that may sign what we take. Raises ValueError. Pure."""
    document = json.loads(raw)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > _KEYS_MAX:
        raise ValueError(f"a JWKS has a list of at most {_KEYS_MAX} keys")
    found: dict[str, IssuerKey] = {}
    for jwk in listed:
        key = _read_key(jwk) if isinstance(jwk, dict) else None
        if key is not None:
            found[jwk["kid"]] = key
    return found


def _read_key(jwk: Mapping[str, Any]) -> IssuerKey | None:
    algorithm = _ALGORITHMS.get((str(jwk.get("kty")), str(jwk.get("crv", ""))))
    if algorithm is None or jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    if not isinstance(jwk.get("kid"), str) or "d" in jwk:  # a private key that was published is nobody's
        return None
    try:
        key = jwt.PyJWK(dict(jwk), algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _RSA_BITS_MIN:
        return None
    return IssuerKey(algorithm, key)


class IssuerKeys:
    """What is known of one issuer."""

    def __init__(
        self, issuer: str, fetch: Fetch, *, monotonic: Callable[[], float], on_failure: Callable[[], None]
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._monotonic = monotonic
        self._on_failure = on_failure
        self._keys: Mapping[str, IssuerKey] = {}
        self._read_at_s = self._asked_at_s = -math.inf
        """When they were read, and asked for last; at first: never."""
        self._failed: str | None = None
        """Why the last question had no answer; None: it had."""
        self._asking = asyncio.Lock()

    async def find(self, kid: str) -> IssuerKey | None:
        """None: the issuer has no such key. Raises KeysUnavailable."""
        if self._is_wanted(kid):
            async with self._asking:  # who comes while somebody asks waits for that answer
                if self._is_wanted(kid) and self._may_ask():
                    await self._ask()
        found = self._keys.get(kid)
        is_stale = self._monotonic() - self._read_at_s > STALE_MAX_S
        if is_stale or (found is None and self._failed is not None):
            raise KeysUnavailable(f"the keys of {self._issuer} cannot be had: {self._failed}")
        return found

    def _is_wanted(self, kid: str) -> bool:
        return kid not in self._keys or self._monotonic() - self._read_at_s >= KEPT_S

    def _may_ask(self) -> bool:
        return self._monotonic() - self._asked_at_s >= AGAIN_S

    async def _ask(self) -> None:
        self._asked_at_s = self._monotonic()
        try:
            self._keys = await self._read()
        except (FetchFailed, ValueError) as error:
            self._failed = str(error)
            self._on_failure()
            _log.warning("the issuer's keys cannot be had", extra={"issuer": self._issuer, "why": self._failed})
            return
        self._failed, self._read_at_s = None, self._monotonic()

    async def _read(self) -> dict[str, IssuerKey]:
        """Raises FetchFailed, ValueError."""
        document = json.loads(await self._fetch(self._issuer.rstrip("/") + _WELL_KNOWN))
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise ValueError(f"what is found at {self._issuer} speaks for another issuer")
        where = document.get("jwks_uri")
        if not isinstance(where, str) or not is_safe_url(where):
            raise ValueError("its keys are not offered over HTTPS")
        return read_keys(await self._fetch(where))
