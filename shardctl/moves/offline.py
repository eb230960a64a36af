"""Verify receipts from files, years later and without a stack: the receipts, and the public keys of who signed them."""

import json
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.security.keys import KeyFileInvalid, encode_secret
from infra.security.signed_document import DocumentRefused, PublicKeys
from shardctl.errors import Refused, UsageError
from shardctl.moves.history import ProvenReceipt
from shardctl.moves.receipt import read_public_keys, verify_receipt

_FILE_BYTES_MAX = 256 * 1024 * 1024
"""Ten thousand receipts with their certificates take eighty megabytes."""


def verify_files(receipts: Path, keys: Path) -> list[ProvenReceipt]:
    """Each receipt in the file: what `shardctl users receipt --json` printed, or one text. Raises Refused for the first
    one that is not what it says, UsageError for files that hold something else."""
    known = _read_keys(keys)
    proven = []
    for number, text in enumerate(_texts(receipts), 1):
        try:
            proven.append(ProvenReceipt(text, *verify_receipt(known, text)))
        except DocumentRefused as error:
            raise Refused(f"receipt {number} of {receipts} proves nothing: {error}") from error
    if not proven:
        raise UsageError(f"{receipts} holds no receipt")
    return proven


def written_keys(keys: PublicKeys) -> dict[str, dict[str, str]]:
    """As a file has them: {signer: {key id: key}}."""
    document: dict[str, dict[str, str]] = {}
    for (signer, kid), key in sorted(keys.keys.items(), key=lambda item: item[0]):
        assert isinstance(key, Ed25519PublicKey)
        document.setdefault(signer, {})[kid] = encode_secret(key.public_bytes_raw())
    return document


def _read_keys(path: Path) -> PublicKeys:
    try:
        return read_public_keys(json.loads(_read(path)))
    except (KeyFileInvalid, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def _texts(path: Path) -> Iterator[str]:
    content = _read(path).strip()
    if not content.startswith(("{", "[")):
        yield content
        return
    try:
        document = json.loads(content)
        items = document if isinstance(document, list) else [document]
        yield from [str(item["receipt"]) for item in items]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no receipts: make it with `shardctl users receipt N --json`") from error


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise UsageError(f"{path} is larger than {_FILE_BYTES_MAX} bytes")
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
