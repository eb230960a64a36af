"""A real OpenID provider as a process of its own: `oidc-provider` of the npm registry, run by node.

Chosen because it is certified and others run it: a provider of our own making would agree with our own mistakes.
`make ci-tools` installs it into `.tools`.
"""

import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.free_port import free_port
from tests.support.outside_tools import outside_tool

AUDIENCE: Final = "urn:test:RS256"
"""Of the service; a resource of that name has it too, as RFC 8707 has it."""
_SCRIPT: Final = Path(__file__).parent / "oidc_provider" / "provider.mjs"
_INSTALLED: Final = Path(__file__).parents[2] / ".tools/oidc-provider/node_modules/oidc-provider/lib/index.js"
_DEADLINE_S: Final = 60.0


def private_keys(generation: str) -> dict[str, Any]:
    """One key per algorithm, as a private JWKS."""
    made = {
        "RS256": RSAAlgorithm.to_jwk(generate_rsa_key(65_537, 2_048), as_dict=True),
        "ES256": ECAlgorithm.to_jwk(generate_private_key(SECP256R1()), as_dict=True),
        "EdDSA": OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True),
    }
    keys = []
    for algorithm, jwk in made.items():
        plain = {name: value for name, value in jwk.items() if name != "key_ops"}
        keys.append({**plain, "use": "sig", "alg": algorithm, "kid": f"{generation}-{algorithm}"})
    return {"keys": keys}


@dataclass
class Issuer:
    """The provider, while it runs."""

    port: int
    keys: dict[str, Any]
    roles: Mapping[str, Sequence[str]]
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        node = outside_tool("node", for_what="it runs the OpenID provider")
        if not _INSTALLED.is_file():
            reason = "oidc-provider is not installed (an OpenID provider); `make ci-tools` installs it"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        given = {
            "PROVIDER": _INSTALLED.as_uri(), "AUDIENCE": AUDIENCE,
            "PORT": str(self.port), "JWKS": json.dumps(self.keys),
            "ROLES": json.dumps(self.roles),
        }  # fmt: skip
        self.process = subprocess.Popen([node, str(_SCRIPT)], env=os.environ | given, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) and line.strip() != "ready":
            pass
        assert line, "the OpenID provider did not start"

    def stop(self) -> None:
        if self.process is not None:
            assert self.process.stdout is not None
            self.process.kill()
            self.process.wait(_DEADLINE_S)
            self.process.stdout.close()
            self.process = None

    def token(self, name: str, algorithm: str = "RS256", *, elsewhere: bool = False) -> str:
        """An access token of `name`, by client credentials."""
        resource = f"urn:test:{algorithm}" + (":elsewhere" if elsewhere else "")
        form = {
            "grant_type": "client_credentials", "client_id": name, "client_secret": "secret", "resource": resource,
            "scope": "operate",
        }  # fmt: skip
        request = urllib.request.Request(f"{self.url}/token", urllib.parse.urlencode(form).encode())
        with urllib.request.urlopen(request, timeout=_DEADLINE_S) as answer:
            return str(json.load(answer)["access_token"])

    def sign(self, claims: Mapping[str, Any], algorithm: str = "RS256", *, kid: str | None = None) -> str:
        """What the provider itself would not say, under its key."""
        [jwk] = [key for key in self.keys["keys"] if key["alg"] == algorithm]
        key = jwt.PyJWK(jwk, algorithm=algorithm).key
        return jwt.encode(dict(claims), key, algorithm=algorithm, headers={"kid": kid or jwk["kid"]})


@contextmanager
def oidc_issuer(roles: Mapping[str, Sequence[str]]) -> Iterator[Issuer]:
    """`roles`: what the role claim of each name says."""
    issuer = Issuer(free_port(), private_keys("first"), roles)
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()
