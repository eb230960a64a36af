"""Which keys of an issuer count, how often it is asked, and for how long it may be away."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from shardctl.safe_url import is_safe_url
from shardctl.service.issuer_keys import (
    AGAIN_S,
    KEPT_S,
    STALE_MAX_S,
    FetchFailed,
    IssuerKeys,
    KeysUnavailable,
    read_keys,
)

ISSUER = "https://login.example"


def public_jwk(kid: str, **changes: Any) -> dict[str, Any]:
    made = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True)
    return {**made, "kid": kid, **changes}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


class Away:
    """What the issuer offers, and how often it was asked."""

    def __init__(self) -> None:
        self.now_s, self.asked, self.failures = 1_000.0, 0, 0
        self.discovery: Any = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        self.keys = jwks(public_jwk("a"))
        self.fails = False
        self.found = IssuerKeys(ISSUER, self.fetch, monotonic=lambda: self.now_s, on_failure=self.failed)

    def failed(self) -> None:
        self.failures += 1

    async def fetch(self, url: str) -> bytes:
        await asyncio.sleep(0)
        if self.fails:
            raise FetchFailed("no answer")
        if url == f"{ISSUER}/.well-known/openid-configuration":
            self.asked += 1
            return json.dumps(self.discovery).encode()
        return self.keys

    async def knows(self, kid: str) -> bool:
        return await self.found.find(kid) is not None


pytestmark = pytest.mark.anyio


async def test_unknown_keys_are_asked_for_seldom_whatever_arrives() -> None:
    away = Away()
    assert await asyncio.gather(*(away.knows(kid) for kid in ("a", "b", "c", "a"))) == [True, False, False, True]
    for number in range(100):
        assert not await away.knows(f"made up {number}")
    assert away.asked == 1
    away.keys = jwks(public_jwk("b"))
    away.now_s += AGAIN_S
    assert await away.knows("b")
    assert not await away.knows("a")
    assert away.asked == 2


async def test_a_withdrawn_key_counts_for_minutes_at_the_most() -> None:
    away = Away()
    assert await away.knows("a")
    away.keys = jwks(public_jwk("b"))
    away.now_s += KEPT_S - 1
    assert await away.knows("a")
    away.now_s += 1
    assert not await away.knows("a")


async def test_an_issuer_may_be_away_for_a_while() -> None:
    away = Away()
    away.fails = True
    with pytest.raises(KeysUnavailable, match=r"https://login\.example cannot be had: no answer"):
        await away.knows("a")
    away.fails = False
    away.now_s += AGAIN_S
    assert await away.knows("a")
    away.fails = True
    away.now_s += KEPT_S
    assert await away.knows("a")
    with pytest.raises(KeysUnavailable):  # it may be new, and nobody can say so
        await away.knows("b")
    away.now_s += STALE_MAX_S
    with pytest.raises(KeysUnavailable):
        await away.knows("a")
    assert away.failures == 3
    away.fails = False
    away.now_s += AGAIN_S
    assert await away.knows("a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("discovery", {"issuer": "https://other.example", "jwks_uri": f"{ISSUER}/keys"}),
        ("discovery", {"issuer": ISSUER, "jwks_uri": "http://login.example/keys"}),
        ("discovery", {"issuer": ISSUER}),
        ("discovery", []),
        ("keys", b"<html>"),
        ("keys", b"{}"),
        ("keys", jwks(*({"kid": str(number)} for number in range(101)))),
    ],
)
async def test_what_does_not_speak_for_the_issuer_is_as_no_answer(name: str, value: Any) -> None:
    away = Away()
    setattr(away, name, value)
    with pytest.raises(KeysUnavailable):
        await away.knows("a")
    assert away.failures == 1


def rsa(bits: int) -> Callable[[str], dict[str, Any]]:
    def made(kid: str) -> dict[str, Any]:
        jwk = RSAAlgorithm.to_jwk(generate_private_key(65_537, bits).public_key(), as_dict=True)
        return {**{name: value for name, value in jwk.items() if name != "key_ops"}, "kid": kid}

    return made


def test_keys_that_sign_nothing_of_ours_are_left_aside() -> None:
    private = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    found = read_keys(
        jwks(
            public_jwk("good", use="sig", alg="EdDSA"),
            rsa(2_048)("large"),
            rsa(1_024)("small"),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric", "alg": "HS256"},
            public_jwk("encrypts", use="enc"),
            public_jwk("other", alg="ES256"),
            {**private, "kid": "private"},
            {name: value for name, value in public_jwk("x").items() if name != "kid"},
            {**public_jwk("broken"), "x": "!"},
            {"kid": "no type"},
            {"kty": ["RSA"], "kid": "a list"},
        )
    )
    assert {kid: key.algorithm for kid, key in found.items()} == {"good": "EdDSA", "large": "RS256"}


def test_tokens_and_keys_travel_over_https_or_within_the_machine() -> None:
    assert [is_safe_url(url) for url in ("https://a.example/x", "http://127.0.0.1:5", "http://localhost")] == [True] * 3
    assert [is_safe_url(url) for url in ("http://a.example", "ftp://127.0.0.1", "a.example", "")] == [False] * 4
