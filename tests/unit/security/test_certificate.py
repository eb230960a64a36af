"""A departure is believed when the cell that let the user go has signed it, and every other text says why it is not."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.security.certificate import FORM, Certificate, CertificateSigner, CertificateVerifier
from infra.security.keys import SigningRing, encode_secret, new_signing_ring
from infra.security.signed_document import (
    DOCUMENT_BYTES_MAX,
    DocumentForeign,
    DocumentForged,
    DocumentOfAnotherForm,
    DocumentRefused,
    PublicKeys,
    public_keys_of,
    sign_document,
    verify_document,
)
from infra.topology.cells import Cell
from infra.topology.identifiers import CellId, Epoch, UserId

RING_1, RING_2 = new_signing_ring(), new_signing_ring()


def a_cell(name: str, *rings: SigningRing) -> Cell:
    public = {key_id: key for ring in rings for key_id, key in ring.public().keys.items()}
    return Cell(
        CellId(name),
        signing_keys=tuple((key_id, encode_secret(key.public_bytes_raw())) for key_id, key in public.items()),
    )


DIRECTORY = public_keys_of([a_cell("cell-1", RING_1), a_cell("cell-2", RING_2)])
SIGNER, VERIFIER = CertificateSigner(RING_1, "cell-1"), CertificateVerifier(DIRECTORY)
DEPARTURE = Certificate(
    move_id=UUID(int=1),
    user_id=UserId(UUID(int=2)),
    from_cell=CellId("cell-1"),
    to_cell=CellId("cell-2"),
    ownership_epoch=Epoch(12),
    write_seq=40,
    entry_seq=30,
    order_event_seq=20,
    chain_head="0f" * 32,
    digests={"orders": "00ff", "postings": "1"},
    departed_at=datetime(2026, 11, 30, 19, 30, 0, 5, UTC),
)
TEXT = SIGNER.sign(DEPARTURE)

seqs = st.integers(0, 2**63 - 1)
departures = st.builds(
    Certificate,
    move_id=st.uuids(),
    user_id=st.uuids().map(UserId),
    from_cell=st.just(CellId("cell-1")),
    to_cell=st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True).filter(lambda name: name != "cell-1").map(CellId),
    ownership_epoch=st.integers(1, 2**63 - 1).map(Epoch),
    write_seq=seqs,
    entry_seq=seqs,
    order_event_seq=seqs,
    chain_head=st.binary(min_size=32, max_size=32).map(bytes.hex),
    digests=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True),
        st.binary(min_size=1, max_size=64).map(bytes.hex),
        max_size=5,
    ),
    departed_at=st.datetimes(timezones=st.just(UTC)),
)


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_anew(text: str, change: Callable[[dict[str, Any]], object], ring: SigningRing = RING_1) -> str:
    """The same document with other claims, signed properly."""
    claims = json.loads(unb64(text.split(".")[1]))
    change(claims)
    return sign_document(ring, FORM, claims.pop("iss"), claims)


@given(departures)
def test_what_a_cell_signs_is_read_as_it_was_said(departure: Certificate) -> None:
    text = SIGNER.sign(departure)
    assert VERIFIER.verify(text) == departure
    assert SIGNER.sign(departure) == text


@given(st.integers(0, len(TEXT) - 1), st.characters(codec="latin-1"))
def test_no_letter_of_it_can_be_another_one(at: int, letter: str) -> None:
    changed = TEXT[:at] + letter + TEXT[at + 1 :]
    if changed == TEXT:
        return
    with pytest.raises(DocumentRefused):
        VERIFIER.verify(changed)


@given(st.text())
def test_whatever_else_comes_is_refused(text: str) -> None:
    with pytest.raises(DocumentOfAnotherForm):
        VERIFIER.verify(text)


def test_any_library_verifies_it_with_the_public_key_alone() -> None:
    """A receipt or a certificate outlives this software."""
    key = RING_1.public().keys[RING_1.active]
    claims = jwt.decode(TEXT, key, algorithms=["EdDSA"], options={"require": [], "verify_aud": False})
    assert claims["iss"] == "cell-1"
    assert claims["digests"] == DEPARTURE.digests


def test_a_key_that_the_directory_does_not_hold_is_foreign() -> None:
    with pytest.raises(DocumentForeign, match="no key"):
        VERIFIER.verify(CertificateSigner(new_signing_ring(), "cell-1").sign(DEPARTURE))
    with pytest.raises(DocumentForeign):
        CertificateVerifier(PublicKeys({})).verify(TEXT)


def test_another_cells_key_is_foreign_also_for_this_cells_departures() -> None:
    departure_of_2 = replace(DEPARTURE, from_cell=CellId("cell-2"), to_cell=CellId("cell-1"))
    with pytest.raises(DocumentForeign):  # known, but not cell-1's
        VERIFIER.verify(CertificateSigner(RING_2, "cell-1").sign(DEPARTURE))
    text = CertificateSigner(RING_2, "cell-2").sign(departure_of_2)
    assert VERIFIER.verify(text) == departure_of_2
    with pytest.raises(DocumentForeign, match="cell-2 certified"):
        VERIFIER.verify(signed_anew(text, lambda c: c.update(from_cell="cell-1", to_cell="cell-3"), RING_2))
    with pytest.raises(ValueError, match="cannot certify"):
        SIGNER.sign(departure_of_2)


def test_claims_under_the_signature_of_other_claims_are_forged() -> None:
    header, claims, signature = TEXT.split(".")
    richer = json.loads(unb64(claims)) | {"write_seq": 41}
    spelled = b64(json.dumps(richer, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(DocumentForged, match="cell-1"):
        VERIFIER.verify(f"{header}.{spelled}.{signature}")


def test_a_rotated_key_signs_and_the_old_one_is_believed_for_ever() -> None:
    new = new_signing_ring()
    verifier = CertificateVerifier(public_keys_of([a_cell("cell-1", RING_1, new)]))
    assert verifier.verify(CertificateSigner(new, "cell-1").sign(DEPARTURE)) == DEPARTURE
    assert verifier.verify(TEXT) == DEPARTURE


@pytest.mark.parametrize(
    "change",
    [
        lambda claims: claims.update(covers=[]),
        lambda claims: claims.pop("chain_head"),
        lambda claims: claims.update(write_seq=1.0),
        lambda claims: claims.update(write_seq=True),
        lambda claims: claims.update(entry_seq=-1),
        lambda claims: claims.update(ownership_epoch=0),
        lambda claims: claims.update(ownership_epoch=2**63),
        lambda claims: claims.update(move_id=claims["move_id"].replace("-", "")),
        lambda claims: claims.update(user_id=7),
        lambda claims: claims.update(to_cell="cell-1"),
        lambda claims: claims.update(to_cell="Cell"),
        lambda claims: claims.update(to_cell=None),
        lambda claims: claims.update(chain_head="0F" * 32),
        lambda claims: claims.update(digests=None),
        lambda claims: claims.update(digests={"orders; --": "00"}),
        lambda claims: claims.update(digests={"orders": "0x"}),
        lambda claims: claims.update(departed_at="2026-11-30"),
        lambda claims: claims.update(departed_at="2026-11-30T19:30:00.000005"),
        lambda claims: claims.update(departed_at="2026-11-30T20:30:00.000005+01:00"),
        lambda claims: claims.update(departed_at=5),
    ],
)
def test_other_claims_are_another_form_however_well_they_are_signed(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(DocumentOfAnotherForm):
        VERIFIER.verify(signed_anew(TEXT, change))


def test_a_document_is_no_document_of_another_form() -> None:
    receipt = sign_document(RING_1, "move-receipt-v1", "cell-1", {"rows": 7})
    assert verify_document(DIRECTORY, "move-receipt-v1", receipt) == ("cell-1", {"rows": 7})
    with pytest.raises(DocumentOfAnotherForm, match=FORM):
        VERIFIER.verify(receipt)
    with pytest.raises(DocumentOfAnotherForm):
        verify_document(DIRECTORY, "move-receipt-v1", TEXT)


def test_neither_no_algorithm_nor_an_hmac_with_the_public_key_passes() -> None:
    _, claims, signature = TEXT.split(".")
    for algorithm in ("none", "HS256", "EdDSA\u0000"):
        header = json.dumps({"alg": algorithm, "kid": RING_1.active, "typ": FORM}, separators=(",", ":"))
        with pytest.raises(DocumentOfAnotherForm):
            VERIFIER.verify(f"{b64(header.encode())}.{claims}.{signature}")
    with pytest.raises(DocumentOfAnotherForm):
        VERIFIER.verify(jwt.encode({**DEPARTURE.digests, "iss": "cell-1"}, "k" * 32, algorithm="HS256"))


def test_a_text_beyond_the_limit_is_not_looked_at() -> None:
    long = sign_document(RING_1, FORM, "cell-1", {"digests": {"orders": "0" * DOCUMENT_BYTES_MAX}})
    with pytest.raises(DocumentOfAnotherForm, match="longer"):
        VERIFIER.verify(long)


def test_a_departure_has_a_time_in_utc() -> None:
    with pytest.raises(ValueError, match="UTC"):
        replace(DEPARTURE, departed_at=datetime(2026, 11, 30))
    with pytest.raises(ValueError, match="UTC"):
        replace(DEPARTURE, departed_at=datetime(2026, 11, 30, tzinfo=timezone(timedelta(hours=1))))


@pytest.mark.parametrize(
    ("key_id", "public_key"), [("", "A" * 43), ("a.b", "A" * 43), ("k", "A" * 42), ("k", "A" * 42 + "B")]
)
def test_a_directory_holds_keys_of_one_spelling(key_id: str, public_key: str) -> None:
    with pytest.raises(ValueError, match="Ed25519"):
        Cell(CellId("cell-1"), signing_keys=((key_id, public_key),))
