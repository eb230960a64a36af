"""A move's receipt: what was copied, what both cells attested, who asked and why; signed, and verified offline.

It is signed by the control service's own key, holds the source's certificate, and is proven with public keys alone,
years later and without a stack (`shardctl users receipt --verify FILE --keys FILE`). What it says twice (in the control
service's claims and in the cell's certificate) must be equal, so neither signer can tell another story alone. A key of
receipts is never dropped: what it has signed stays verifiable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.security.certificate import Certificate, CertificateVerifier
from infra.security.keys import RECEIPT_SIGNING_FILE, KeyFileInvalid, decode_public, encode_secret, load_signing_ring
from infra.security.signed_document import (
    DocumentForged,
    DocumentOfAnotherForm,
    PublicKeys,
    sign_document,
    verify_document,
)
from shardctl.moves.driver import Attestation, Move

FORM: Final = "move-receipt-v1"
SIGNER: Final = "control service"
"""No cell can be called so, for its blank: nobody else's document is taken for the control service's."""
_CLAIMS: Final = frozenset(
    {
        "operation_id", "move_id", "user_id", "from_cell", "to_cell", "ownership_epoch", "actor", "reason", "halts",
        "pause_us", "activated_at", "copied", "handed_over", "certificate",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was proven about one move."""

    operation_id: int
    move: Move
    actor: str
    reason: str | None
    halts: int
    pause_us: int | None
    """Of the user's writes, by the mover's clock. None: the attempt that halted died before it could say."""
    activated_at: datetime
    """At the latest, by the control service's clock."""
    copied: Mapping[str, Any]
    """What both cells attested of all the user's rows, before the halt: {"head", "tables": {name: {rows, digest}}}."""
    handed_over: Mapping[str, Any] | None
    """Of what changed last, under the halt. None: the attempt that compared it died before it could say."""
    certificate: str


def attested(attestation: Attestation | None) -> dict[str, Any] | None:
    """As a receipt and the results of steps keep it."""
    if attestation is None:
        return None
    tables = {name: {"rows": each.rows, "digest": each.digest} for name, each in attestation.tables.items()}
    return {"of": attestation.kind, "head": attestation.head, "tables": tables}


def sign_receipt(keys_folder: Path, receipt: Receipt) -> str:
    """Raises KeyFileInvalid."""
    move = receipt.move
    claims = {
        "operation_id": receipt.operation_id,
        "move_id": str(move.move_id),
        "user_id": str(move.user_id),
        "from_cell": move.source,
        "to_cell": move.target,
        "ownership_epoch": move.ownership_epoch,
        "actor": receipt.actor,
        "reason": receipt.reason,
        "halts": receipt.halts,
        "pause_us": receipt.pause_us,
        "activated_at": receipt.activated_at.isoformat(timespec="microseconds"),
        "copied": receipt.copied,
        "handed_over": receipt.handed_over,
        "certificate": receipt.certificate,
    }
    return sign_document(load_signing_ring(keys_folder / RECEIPT_SIGNING_FILE), FORM, SIGNER, claims)


def verify_receipt(keys: PublicKeys, text: str) -> tuple[dict[str, Any], Certificate]:
    """Its claims, and those of the certificate in it. Raises a DocumentRefused: another form, a foreign signer, or
    forged, which is also a receipt that says otherwise than the source's certificate."""
    signer, claims = verify_document(keys, FORM, text)
    if signer != SIGNER or claims.keys() != _CLAIMS:
        raise DocumentOfAnotherForm(f"not the claims of a receipt: {sorted(claims.keys() ^ _CLAIMS)}")
    certificate = CertificateVerifier(keys).verify(claims["certificate"])
    for name, certified in _said_twice(certificate).items():
        if claims[name] != certified:
            raise DocumentForged(f"{name}: the receipt says {claims[name]}, the source's certificate {certified}")
    found = differences_in(claims, certificate)
    if found:
        raise DocumentForged(f"what was attested is not what was certified: {found[0]}")
    return claims, certificate


def differences_in(claims: Mapping[str, Any], certificate: Certificate) -> list[str]:
    """Between what both cells attested last and what the source certified. Pure."""
    attested_last = claims["handed_over"]
    if attested_last is None:
        return []
    found = []
    for table, attested_table in attested_last["tables"].items():
        certified = certificate.digests.get(_certified_name(table))
        if certified is not None and certified != attested_table["digest"]:
            found.append(f"{table}: attested {attested_table['digest'][:16]}, certified {certified[:16]}")
    for name in ("write_seq", "chain_head"):
        said = attested_last["head"].get(name)
        # A chain head is a `bytea` of the user's row, as PostgreSQL spells it.
        if said is not None and str(said).removeprefix("\\x") != str(getattr(certificate, name)):
            found.append(f"{name}: attested {said}, certified {getattr(certificate, name)}")
    return found


def own_public_keys(keys_folder: Path) -> dict[str, str]:
    """With which the control service signs receipts or ever did, by key id. Raises KeyFileInvalid."""
    ring = load_signing_ring(keys_folder / RECEIPT_SIGNING_FILE).public()
    return {kid: encode_secret(key.public_bytes_raw()) for kid, key in ring.keys.items()}


def read_public_keys(document: object) -> PublicKeys:
    """Of a file that `shardctl keys public` made: {signer: {key id: key}}. Raises KeyFileInvalid."""
    try:
        assert isinstance(document, dict)
        return PublicKeys(
            {
                (signer, kid): Ed25519PublicKey.from_public_bytes(decode_public(key))
                for signer, keys in document.items()
                for kid, key in keys.items()
            }
        )
    except (AssertionError, ValueError, TypeError, AttributeError) as error:
        raise KeyFileInvalid("not public keys: make the file with `shardctl keys public`") from error


def _certified_name(table: str) -> str:
    """A certificate's names of tables have no dots."""
    schema, _, name = table.rpartition(".")
    return f"{schema}_{name}" if schema not in ("", "brokerage") else name


def _said_twice(certificate: Certificate) -> dict[str, Any]:
    return {
        "move_id": str(certificate.move_id),
        "user_id": str(certificate.user_id),
        "from_cell": certificate.from_cell,
        "to_cell": certificate.to_cell,
        "ownership_epoch": certificate.ownership_epoch,
    }
