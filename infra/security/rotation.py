"""Change the keys of a running stack without logging anybody out.

Three steps, each one atomic replacement of a file: a new key is **added** (everybody learns to verify it),
**activated** (from now on it signs), and the old one **dropped** when the last thing it signed has expired. The pause
between the first two belongs to the caller: every process looks at its files once a second. A rotation that was cut off
is taken up where it stopped: a key that is neither active nor retired is the one to activate.
"""

import json
import os
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.security.keys import (
    CERTIFICATE_SIGNING_FILE,
    CERTIFICATE_VERIFY_FILE,
    CUSTOMER_SIGNING_FILE,
    CUSTOMER_VERIFY_FILE,
    OPERATOR_SIGNING_FILE,
    OPERATOR_VERIFY_FILE,
    ROUTE_FILE,
    KeyFileInvalid,
    encode_secret,
    encode_verify_ring,
    load_signing_ring,
    new_kid,
    new_secret,
)
from infra.security.lifetime import ACCESS_TOKEN_LIFE_MAX_S, OPERATOR_TOKEN_LIFE_MAX_S, ROUTE_TOKEN_LIFE_MAX_S


class Rotated(StrEnum):
    """The rings that can be rotated. The email pepper cannot: every claim would have to be made anew by its owner."""

    CUSTOMER = "customer"
    ROUTE = "route"
    OPERATOR = "operator"
    CELL = "cell"
    """Of each cell its own, in a folder of its own (`cell_keys.py`). What it signs never expires, so nobody drops a key
    of it."""


SHARED: Final = (Rotated.CUSTOMER, Rotated.ROUTE, Rotated.OPERATOR)
"""Of which a stack has one each, in one folder."""
FILES: Final = {
    Rotated.CUSTOMER: (CUSTOMER_SIGNING_FILE, CUSTOMER_VERIFY_FILE),
    Rotated.ROUTE: (ROUTE_FILE,),
    Rotated.OPERATOR: (OPERATOR_SIGNING_FILE, OPERATOR_VERIFY_FILE),
    Rotated.CELL: (CERTIFICATE_SIGNING_FILE, CERTIFICATE_VERIFY_FILE),
}
"""In which files the keys of a ring lie; the first holds the secrets, a second one their public halves."""
KEPT_S: Final = {
    Rotated.CUSTOMER: ACCESS_TOKEN_LIFE_MAX_S + 60,
    Rotated.ROUTE: ROUTE_TOKEN_LIFE_MAX_S + 60,
    Rotated.OPERATOR: OPERATOR_TOKEN_LIFE_MAX_S + 60,
}
"""How long an old key still verifies: the life of what it signed, and a minute for clocks."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key of a ring, without its secret."""

    ring: str
    kid: str
    state: str
    """active, added (verifies, does not sign yet) or retired."""
    retired_at_s: int | None


def add_key(directory: Path, ring: Rotated) -> str:
    """The id of a key that everybody can verify and nobody signs with yet; an added one is found again. Raises
    KeyFileInvalid."""
    path, document = _open(directory, ring)
    waiting = [kid for kid in document["keys"] if kid != document["active"] and kid not in document["retired"]]
    kid = waiting[0] if waiting else new_kid()
    if not waiting:
        document["keys"][kid] = (
            encode_secret(Ed25519PrivateKey.generate().private_bytes_raw())
            if len(FILES[ring]) > 1
            else encode_secret(new_secret())
        )
        replace_key_file(path, document)
    _publish(directory, ring)
    return kid


def remove_added_keys(directory: Path, ring: Rotated) -> None:
    """Of a rotation that is called off: keys that never signed anything. Raises KeyFileInvalid."""
    path, document = _open(directory, ring)
    added = [kid for kid in document["keys"] if kid != document["active"] and kid not in document["retired"]]
    for kid in added:
        del document["keys"][kid]
    if added:
        replace_key_file(path, document)
    _publish(directory, ring)


def activate_key(directory: Path, ring: Rotated, kid: str, now_s: int) -> None:
    """From now on `kid` signs; the one before it goes on verifying. Raises KeyFileInvalid."""
    path, document = _open(directory, ring)
    if kid not in document["keys"]:
        raise KeyFileInvalid(f"{path.name} has no key {kid}")
    if document["active"] == kid:
        return
    document["retired"][document["active"]] = now_s
    document["retired"].pop(kid, None)
    document["active"] = kid
    replace_key_file(path, document)


def drop_old_keys(directory: Path, ring: Rotated, now_s: int, *, kept_s: int) -> tuple[str, ...]:
    """Remove keys that were retired at least `kept_s` ago; what they signed is void from then on. Raises
    KeyFileInvalid."""
    path, document = _open(directory, ring)
    old = tuple(kid for kid, retired_at_s in document["retired"].items() if now_s - retired_at_s >= kept_s)
    for kid in old:
        del document["keys"][kid], document["retired"][kid]
    if old:
        replace_key_file(path, document)
    _publish(directory, ring)
    return old


def list_keys(directory: Path, ring: Rotated) -> list[KeyRow]:
    """Raises KeyFileInvalid."""
    _, document = _open(directory, ring)
    active, retired = document["active"], document["retired"]
    return [
        KeyRow(ring, kid, "active" if kid == active else "retired" if kid in retired else "added", retired.get(kid))
        for kid in document["keys"]
    ]


def _open(directory: Path, ring: Rotated) -> tuple[Path, dict[str, Any]]:
    path = directory / FILES[ring][0]
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        document.setdefault("retired", {})
        if document["active"] not in document["keys"]:
            raise KeyFileInvalid(f"{path} names an active key that it does not hold")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyFileInvalid(f"{path} cannot be read as a key ring: {error}") from error
    return path, document


def _publish(directory: Path, ring: Rotated) -> None:
    """The public halves of what signs have a file of their own."""
    signing, *verify = FILES[ring]
    for name in verify:
        replace_key_file(directory / name, encode_verify_ring(load_signing_ring(directory / signing).public()))


def replace_key_file(path: Path, document: Any) -> None:
    """Whole or not at all, and never readable by others. Raises OSError."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
