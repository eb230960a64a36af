"""Key rings: several keys by id, one of them active.

Signers use the active key, verifiers accept every key of the ring, so a key is rotated by adding it everywhere,
activating it, and removing the old one when its last token has expired.

Files hold secrets as JSON with mode 0600. A missing file is made once, by whoever comes first; an existing one is
never touched, because a lost signing key logs everybody out and a lost pepper orphans every email claim.
"""

import base64
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CUSTOMER_SIGNING_FILE: Final = "customer-signing.json"
CUSTOMER_VERIFY_FILE: Final = "customer-verify.json"
ROUTE_FILE: Final = "route.json"
OPERATOR_SIGNING_FILE: Final = "operator-signing.json"
"""For the control service alone, and for the machine's owner when it is dead."""
OPERATOR_VERIFY_FILE: Final = "operator-verify.json"
RECEIPT_SIGNING_FILE: Final = "receipt-signing.json"
"""Of the control service, for receipts of moves. Its keys are never dropped: what they signed stays verifiable."""
RECEIPT_VERIFY_FILE: Final = "receipt-verify.json"
EMAIL_PEPPER_FILE: Final = "email-pepper.json"
CERTIFICATE_SIGNING_FILE: Final = "certificate-signing.json"
"""In a folder of each cell's own (`cell_keys.py`)."""
CERTIFICATE_VERIFY_FILE: Final = "certificate-verify.json"
_FORMER_FILES: Final = ("operator.json",)
"""Of older releases: a secret with which every process could have made operators' tokens. Nobody takes those any
more."""

SIGNERS: Final = (
    (CUSTOMER_SIGNING_FILE, CUSTOMER_VERIFY_FILE),
    (OPERATOR_SIGNING_FILE, OPERATOR_VERIFY_FILE),
    (RECEIPT_SIGNING_FILE, RECEIPT_VERIFY_FILE),
)
"""Private and public halves: one ring of keys per signer."""
_SECRET_BYTES: Final = 32
"""256 bits, the digest's size: more adds nothing to an HMAC."""
_CHECK_S: Final = 1.0
"""Between looks at the file: a rotated key is known everywhere within a second."""
_log = logging.getLogger(__name__)
Ring_co = TypeVar("Ring_co", covariant=True)
Ring = TypeVar("Ring")


class KeySource(Protocol[Ring_co]):
    """A ring as it is now: one that never changes, or one that follows its file."""

    def current(self) -> Ring_co: ...


class KeyFileInvalid(Exception):
    """A key file cannot be read, or does not hold what its name says."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Symmetric secrets by key id."""

    active: str
    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        """Raises KeyFileInvalid."""
        if self.active not in self.keys:
            raise KeyFileInvalid(f"the active key {self.active!r} is not in the ring")
        if any(not kid or not kid.isascii() or "." in kid for kid in self.keys):
            raise KeyFileInvalid("a key id is empty, not ASCII, or holds a dot")
        if any(len(secret) < _SECRET_BYTES for secret in self.keys.values()):
            raise KeyFileInvalid("a key is shorter than 32 bytes")

    def current(self) -> Self:
        return self

    @property
    def active_key(self) -> bytes:
        return self.keys[self.active]


@dataclass(frozen=True, slots=True)
class SigningRing:
    """Ed25519 private keys by key id."""

    active: str
    keys: Mapping[str, Ed25519PrivateKey] = field(repr=False)

    def __post_init__(self) -> None:
        """Raises KeyFileInvalid."""
        if self.active not in self.keys:
            raise KeyFileInvalid(f"the active key {self.active!r} is not in the ring")

    def current(self) -> Self:
        return self

    def public(self) -> "VerifyRing":
        return VerifyRing({kid: key.public_key() for kid, key in self.keys.items()})


@dataclass(frozen=True, slots=True)
class VerifyRing:
    """Ed25519 public keys by key id."""

    keys: Mapping[str, Ed25519PublicKey]

    def current(self) -> Self:
        return self


class FollowedRing(Generic[Ring]):
    """The ring in a file that is rotated while processes run: looked at again once a second, when somebody asks. A
    file that cannot be read leaves what is held."""

    def __init__(
        self,
        path: Path,
        load: Callable[[Path], Ring],
        *,
        check_s: float = _CHECK_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._load = load
        self._check_s = check_s
        self._now = now
        self._seen = _fingerprint(path)
        self._ring = load(path)
        self._look_at_s = now() + check_s

    def current(self) -> Ring:
        if self._now() >= self._look_at_s:
            self._look_at_s = self._now() + self._check_s
            self._look()
        return self._ring

    def _look(self) -> None:
        seen = _fingerprint(self._path)
        if seen == self._seen:
            return
        try:
            self._ring = self._load(self._path)
        except KeyFileInvalid as error:
            _log.error("key file refused; the keys in memory stay", extra={"file": self._path.name, "why": str(error)})
            return
        self._seen = seen
        _log.info("key file taken", extra={"file": self._path.name})


AnyRing = KeyRing | SigningRing | VerifyRing


def key_ids(rings: Mapping[str, KeySource[AnyRing]]) -> dict[str, list[str]]:
    """Which keys a process holds at this moment, by file, the one that signs first; never a secret. Asking makes it
    look at its files, so what it says it goes by is what it goes by from then on."""
    return {file: _ids(ring.current()) for file, ring in rings.items()}


def _ids(ring: AnyRing) -> list[str]:
    active = None if isinstance(ring, VerifyRing) else ring.active
    return sorted(ring.keys, key=lambda kid: (kid != active, kid))


def follow_key_ring(path: Path) -> FollowedRing[KeyRing]:
    return FollowedRing(path, load_key_ring)


def follow_signing_ring(path: Path) -> FollowedRing[SigningRing]:
    return FollowedRing(path, load_signing_ring)


def follow_verify_ring(path: Path) -> FollowedRing[VerifyRing]:
    return FollowedRing(path, load_verify_ring)


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def new_key_ring() -> KeyRing:
    kid = new_kid()
    return KeyRing(active=kid, keys={kid: new_secret()})


def new_signing_ring() -> SigningRing:
    kid = new_kid()
    return SigningRing(active=kid, keys={kid: Ed25519PrivateKey.generate()})


def generate_key_files(directory: Path) -> None:
    """Create the key files of a stack that do not exist yet, and delete those that no release uses any more. Harmless
    to repeat, also at the same time. Raises KeyFileInvalid."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (ROUTE_FILE, EMAIL_PEPPER_FILE):
        if not (directory / name).exists():
            _write_once(directory / name, _key_ring_to_json(new_key_ring()))
    for signing, verify in SIGNERS:
        generate_signer_files(directory / signing, directory / verify)
    for name in _FORMER_FILES:
        (directory / name).unlink(missing_ok=True)


def generate_signer_files(signing: Path, verify: Path) -> None:
    """One signer's ring and its public half, unless they are there."""
    if not signing.exists():
        _write_once(signing, _signing_ring_to_json(new_signing_ring()))
    if not verify.exists():
        _write_once(verify, encode_verify_ring(load_signing_ring(signing).public()))


def load_key_ring(path: Path) -> KeyRing:
    """Keys that sign and verify, from a key file. Raises KeyFileInvalid."""
    document = _read(path)
    try:
        return KeyRing(document["active"], {kid: _unb64(text) for kid, text in document["keys"].items()})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise KeyFileInvalid(f"{path} is not a key ring") from error


def load_signing_ring(path: Path) -> SigningRing:
    """Ed25519 private keys. Raises KeyFileInvalid."""
    document = _read(path)
    try:
        keys = {kid: Ed25519PrivateKey.from_private_bytes(_unb64(text)) for kid, text in document["keys"].items()}
        return SigningRing(document["active"], keys)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise KeyFileInvalid(f"{path} is not a signing ring") from error


def load_verify_ring(path: Path) -> VerifyRing:
    """A public JWKS; keys of another kind than Ed25519 are refused, not ignored. Raises KeyFileInvalid."""
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
    return {"active": ring.active, "keys": {kid: encode_secret(secret) for kid, secret in ring.keys.items()}}


def _signing_ring_to_json(ring: SigningRing) -> dict[str, Any]:
    return {
        "active": ring.active,
        "keys": {kid: encode_secret(key.private_bytes_raw()) for kid, key in ring.keys.items()},
    }


def encode_verify_ring(ring: VerifyRing) -> dict[str, Any]:
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": kid,
                "x": encode_secret(key.public_bytes_raw()),
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


def new_secret() -> bytes:
    return secrets.token_bytes(_SECRET_BYTES)


def new_kid() -> str:
    return secrets.token_hex(4)


def encode_secret(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_public(text: str) -> bytes:
    """A public key as files and documents spell it. Raises ValueError."""
    return _unb64(text)


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
