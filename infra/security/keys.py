"""Key rings: several keys by id, one of them active.

Signers use the active key, verifiers accept every key of the ring, so a key is rotated by adding it everywhere,
activating it, and removing the old one when its last token has expired.

Files hold secrets as JSON with mode 0600. A missing file is made once, by whoever comes first; an existing one is
never touched, because a lost signing key logs everybody out and a lost pepper orphans every email claim.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CUSTOMER_SIGNING_FILE: Final = "customer-signing.json"
CUSTOMER_VERIFY_FILE: Final = "customer-verify.json"
ROUTE_FILE: Final = "route.json"
OPERATOR_FILE: Final = "operator.json"
EMAIL_PEPPER_FILE: Final = "email-pepper.json"

_SECRET_BYTES: Final = 32


class KeyFileInvalid(Exception):
    """A key file cannot be read, or does not hold what its name says."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Symmetric secrets by key id."""

    active: str
    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if self.active not in self.keys:
            raise KeyFileInvalid(f"the active key {self.active!r} is not in the ring")
        if any(not kid or not kid.isascii() or "." in kid for kid in self.keys):
            raise KeyFileInvalid("a key id is empty, not ASCII, or holds a dot")
        if any(len(secret) < _SECRET_BYTES for secret in self.keys.values()):
            raise KeyFileInvalid("a key is shorter than 32 bytes")

    @property
    def active_key(self) -> bytes:
        return self.keys[self.active]


@dataclass(frozen=True, slots=True)
class SigningRing:
    """Ed25519 private keys by key id."""

    active: str
    keys: Mapping[str, Ed25519PrivateKey] = field(repr=False)

    def __post_init__(self) -> None:
        if self.active not in self.keys:
            raise KeyFileInvalid(f"the active key {self.active!r} is not in the ring")

    def public(self) -> "VerifyRing":
        return VerifyRing({kid: key.public_key() for kid, key in self.keys.items()})


@dataclass(frozen=True, slots=True)
class VerifyRing:
    """Ed25519 public keys by key id."""

    keys: Mapping[str, Ed25519PublicKey]


def new_key_ring() -> KeyRing:
    kid = _new_kid()
    return KeyRing(active=kid, keys={kid: secrets.token_bytes(_SECRET_BYTES)})


def new_signing_ring() -> SigningRing:
    kid = _new_kid()
    return SigningRing(active=kid, keys={kid: Ed25519PrivateKey.generate()})


def generate_key_files(directory: Path) -> None:
    """Create the key files of a stack that do not exist yet. Harmless to repeat, also at the same time."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (ROUTE_FILE, OPERATOR_FILE, EMAIL_PEPPER_FILE):
        if not (directory / name).exists():
            _write_once(directory / name, _key_ring_to_json(new_key_ring()))
    signing_path = directory / CUSTOMER_SIGNING_FILE
    if not signing_path.exists():
        _write_once(signing_path, _signing_ring_to_json(new_signing_ring()))
    verify_path = directory / CUSTOMER_VERIFY_FILE
    if not verify_path.exists():
        _write_once(verify_path, _verify_ring_to_json(load_signing_ring(signing_path).public()))


def load_key_ring(path: Path) -> KeyRing:
    document = _read(path)
    try:
        return KeyRing(document["active"], {kid: _unb64(text) for kid, text in document["keys"].items()})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise KeyFileInvalid(f"{path} is not a key ring") from error


def load_signing_ring(path: Path) -> SigningRing:
    document = _read(path)
    try:
        keys = {kid: Ed25519PrivateKey.from_private_bytes(_unb64(text)) for kid, text in document["keys"].items()}
        return SigningRing(document["active"], keys)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise KeyFileInvalid(f"{path} is not a signing ring") from error


def load_verify_ring(path: Path) -> VerifyRing:
    """A public JWKS; keys of another kind than Ed25519 are refused, not skipped."""
    document = _read(path)
    try:
        keys: dict[str, Ed25519PublicKey] = {}
        for jwk in document["keys"]:
            if (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519"):
                raise KeyFileInvalid(f"{path} holds a key that is not Ed25519")
            keys[jwk["kid"]] = Ed25519PublicKey.from_public_bytes(_unb64(jwk["x"]))
    except (KeyError, TypeError, ValueError) as error:
        raise KeyFileInvalid(f"{path} is not a JWKS of Ed25519 keys") from error
    return VerifyRing(keys)


def _key_ring_to_json(ring: KeyRing) -> dict[str, Any]:
    return {"active": ring.active, "keys": {kid: _b64(secret) for kid, secret in ring.keys.items()}}


def _signing_ring_to_json(ring: SigningRing) -> dict[str, Any]:
    return {"active": ring.active, "keys": {kid: _b64(key.private_bytes_raw()) for kid, key in ring.keys.items()}}


def _verify_ring_to_json(ring: VerifyRing) -> dict[str, Any]:
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": kid,
                "x": _b64(key.public_bytes_raw()),
            }
            for kid, key in ring.keys.items()
        ]
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeyFileInvalid(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise KeyFileInvalid(f"{path} is not a JSON object")
    return document


def _write_once(path: Path, document: dict[str, Any]) -> None:
    """Write beside, then link: whoever links first wins, and nobody ever sees half a file."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return
    finally:
        beside.unlink()


def _new_kid() -> str:
    return secrets.token_hex(4)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
