"""A receipt is proven with public keys alone, and tells no other story than the source's certificate in it."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from infra.security.certificate import Certificate, CertificateSigner
from infra.security.keys import KeyFileInvalid, encode_secret, generate_key_files, load_signing_ring, new_signing_ring
from infra.security.signed_document import DocumentForeign, DocumentForged, DocumentOfAnotherForm, sign_document
from infra.topology.identifiers import CellId, Epoch, UserId
from shardctl.moves.driver import Attestation, Move
from shardctl.moves.frame import Attested
from shardctl.moves.receipt import (
    FORM,
    SIGNER,
    Receipt,
    attested,
    own_public_keys,
    read_public_keys,
    sign_receipt,
    verify_receipt,
)

USER, MOVE = UUID(int=1), UUID(int=2)
HEAD = "ab" * 32
AT = datetime(2026, 11, 30, 12, 0, 1, tzinfo=UTC)
CELL_RING = new_signing_ring()
CERTIFICATE = Certificate(
    MOVE, UserId(USER), CellId("cell-1"), CellId("cell-2"), Epoch(7), 12, 5, 9, HEAD,
    {"orders": "d1", "postings": "d2", "archive_postings": "d3"},
    datetime(2026, 11, 30, 12, 0, tzinfo=UTC),
)  # fmt: skip
LAST = Attestation(
    "changed",
    {"write_seq": 12, "chain_head": f"\\x{HEAD}"},
    {"brokerage.orders": Attested(3, "d1"), "archive.postings": Attested(0, "d3")},
    2,
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    generate_key_files(tmp_path)
    return tmp_path


def public(keys: Path) -> dict[str, dict[str, str]]:
    """As `shardctl keys public` writes it."""
    cell = {kid: encode_secret(key.public_bytes_raw()) for kid, key in CELL_RING.public().keys.items()}
    return {SIGNER: own_public_keys(keys), "cell-1": cell}


def receipt(certificate: Certificate = CERTIFICATE, **changed: Any) -> Receipt:
    signed = CertificateSigner(CELL_RING, "cell-1").sign(certificate)
    whole = attested(Attestation("all", {"write_seq": 11, "chain_head": HEAD}, {"orders": Attested(3, "d0")}, 4))
    assert whole is not None
    given = Receipt(
        17, Move(USER, MOVE, "cell-1", "cell-2", 7), "ann", "closer", 1, 41_000, AT, whole, attested(LAST), signed
    )
    return replace(given, **changed)


def test_a_receipt_is_verified_offline(keys: Path) -> None:
    claims, certificate = verify_receipt(
        read_public_keys(json.loads(json.dumps(public(keys)))), sign_receipt(keys, receipt())
    )
    assert certificate == CERTIFICATE
    assert (claims["operation_id"], claims["actor"], claims["reason"], claims["pause_us"]) == (
        17,
        "ann",
        "closer",
        41_000,
    )
    assert claims["handed_over"]["tables"]["brokerage.orders"] == {"rows": 3, "digest": "d1"}
    assert claims["activated_at"] == "2026-11-30T12:00:01.000000+00:00"


def test_a_receipt_of_an_attempt_that_died_says_that_it_does_not_know(keys: Path) -> None:
    told = receipt(pause_us=None, handed_over=attested(None))
    claims, _ = verify_receipt(read_public_keys(public(keys)), sign_receipt(keys, told))
    assert (claims["pause_us"], claims["handed_over"]) == (None, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"move": Move(USER, UUID(int=3), "cell-1", "cell-2", 7)},
        {"move": Move(UUID(int=3), MOVE, "cell-1", "cell-2", 7)},
        {"move": Move(USER, MOVE, "cell-3", "cell-2", 7)},
        {"move": Move(USER, MOVE, "cell-1", "cell-3", 7)},
        {"move": Move(USER, MOVE, "cell-1", "cell-2", 8)},
        {"handed_over": attested(replace(LAST, tables={"brokerage.orders": Attested(3, "d9")}))},
        {"handed_over": attested(replace(LAST, tables={"archive.postings": Attested(0, "d2")}))},
        {"handed_over": attested(replace(LAST, head={"write_seq": 13, "chain_head": HEAD}))},
        {"handed_over": attested(replace(LAST, head={"write_seq": 12, "chain_head": "cd" * 32}))},
    ],
)
def test_the_control_service_alone_cannot_tell_another_story(keys: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(DocumentForged):
        verify_receipt(read_public_keys(public(keys)), sign_receipt(keys, receipt(**changed)))


def test_an_altered_receipt_and_a_foreign_signer(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = sign_receipt(keys, receipt())
    header, claims, signature = text.split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    told["pause_us"] = 1
    altered = base64.urlsafe_b64encode(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).rstrip(b"=")
    with pytest.raises(DocumentForged):
        verify_receipt(read_public_keys(public(keys)), f"{header}.{altered.decode()}.{signature}")
    elsewhere = tmp_path_factory.mktemp("keys")
    generate_key_files(elsewhere)
    with pytest.raises(DocumentForeign):
        verify_receipt(read_public_keys(public(keys)), sign_receipt(elsewhere, receipt()))
    with pytest.raises(DocumentForeign, match="cell-1"):
        verify_receipt(read_public_keys({SIGNER: own_public_keys(keys)}), text)


def test_a_document_with_other_claims_is_no_receipt(keys: Path) -> None:
    ring = load_signing_ring(keys / "receipt-signing.json")
    known = read_public_keys(public(keys))
    with pytest.raises(DocumentOfAnotherForm, match="not the claims"):
        verify_receipt(known, sign_document(ring, FORM, SIGNER, {"move_id": str(MOVE)}))
    with pytest.raises(DocumentOfAnotherForm):
        verify_receipt(known, CertificateSigner(CELL_RING, "cell-1").sign(CERTIFICATE))


@pytest.mark.parametrize("wrong", [[], "text", {"cell-1": "key"}, {"cell-1": {"k": "short"}}, {"cell-1": {"k": 7}}])
def test_what_is_no_file_of_public_keys(wrong: object) -> None:
    with pytest.raises(KeyFileInvalid, match="shardctl keys public"):
        read_public_keys(wrong)
